"""TensorRT and TensorRT-RTX: found, imported and logged; one code path for all versions.

Nothing else in the project imports their bindings. Names that all versions from 10.3 to 11.4 have
are used directly: the module is always called `trt`, and tests/engines/test_tensorrt_names.py
compares every name with those of the real bindings. `optional` looks up the other names.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, get_args

from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.errors import EngineError

Flavour = Literal["tensorrt", "tensorrt-rtx"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)

_LEAN_MODULES = ("tensorrt_lean", "tensorrt_lean_bindings")


@dataclass(frozen=True)
class Message:
    """One line that TensorRT logged."""

    severity: str
    """INTERNAL_ERROR, ERROR, WARNING, INFO or VERBOSE."""
    text: str
    """Its text."""

    @property
    def is_error(self) -> bool:
        """Whether it reports a failure."""
        return self.severity in ("ERROR", "INTERNAL_ERROR")


class Log:
    """TensorRT's messages, passed to all listeners; nothing is printed.

    TensorRT keeps the first logger that a process gives it, so there is one for each flavour, and
    each job listens while it runs. Messages of jobs that run at the same time reach all of them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[list[Message]] = []

    def add(self, message: Message) -> None:
        """Pass one message to every listener."""
        with self._lock:
            for listener in self._listeners:
                listener.append(message)

    @contextlib.contextmanager
    def listen(self) -> Iterator[list[Message]]:
        """A list that grows with every message while the block runs."""
        messages: list[Message] = []
        with self._lock:
            self._listeners.append(messages)
        try:
            yield messages
        finally:
            with self._lock:
                self._listeners = [kept for kept in self._listeners if kept is not messages]


@dataclass(frozen=True)
class TensorRT:
    """One flavour of TensorRT, loaded."""

    flavour: Flavour
    """TensorRT, or TensorRT-RTX for RTX cards."""
    module: Any
    """The binding's module."""
    version: str
    """Version of the binding, such as "10.3.0"."""
    logger: Any
    """The process's `ILogger`: give it to every Builder, OnnxParser and Runtime."""
    log: Log
    """The messages of that logger."""
    is_lean: bool = False
    """The lean runtime: it runs version-compatible engines and has no builder and no parser."""

    @property
    def title(self) -> str:
        """Name and version for messages, such as "TensorRT 10.3.0"."""
        lean = " (lean runtime)" if self.is_lean else ""
        return f"{ENGINE_FACTS[self.flavour].title} {self.version}{lean}"

    @property
    def wheels(self) -> str:
        """Beginning of the names of its wheels."""
        return "tensorrt-lean" if self.is_lean else self.flavour


_loaded: dict[Flavour, TensorRT] = {}
_loading = threading.Lock()


def load(flavour: Flavour = "tensorrt") -> TensorRT:
    """Import a flavour; later calls return the same object.

    Where TensorRT is not installed, its lean runtime is used if that is.

    Nothing that needs a GPU is created: check for one before creating a Builder or Runtime.

    Raises:
        EngineError: it is not installed, or its libraries cannot be loaded; the message has the
            loader's own reason and the fix.
    """
    with _loading:
        if flavour not in _loaded:
            module = _import(flavour)
            log = Log()
            logger = _make_logger(module, log)
            version, lean = str(module.__version__), module.__name__ in _LEAN_MODULES
            _loaded[flavour] = TensorRT(flavour, module, version, logger, log, lean)
        return _loaded[flavour]


def is_installed(flavour: Flavour) -> bool:
    """Whether `load` works."""
    try:
        load(flavour)
    except EngineError:
        return False
    return True


def flag(member: Any) -> int:
    """The bit of a flag's enum member; its number differs between versions, its name does not."""
    # STRONGLY_TYPED is 1 in TensorRT 10 and 0 in 11; TF32 and REFIT moved as well.
    return 1 << int(member)


def optional(owner: Any, name: str) -> Any:
    """An enum member, class or method that only some versions have, or None."""
    return getattr(owner, name, None)


def errors_of(messages: Sequence[Message]) -> str:
    """The failures among `messages`, in one line; "" if there are none."""
    texts = (" ".join(message.text.split()) for message in messages if message.is_error)
    return "; ".join(dict.fromkeys(texts))


def _import(flavour: Flavour) -> ModuleType:
    facts = ENGINE_FACTS[flavour]
    module, reasons = _first_of(facts.modules)
    # Only where TensorRT is missing: one that is there and broken is to be reported.
    if not module and not reasons and flavour == "tensorrt":
        module, reasons = _first_of(_LEAN_MODULES)
    if module:
        return module
    fix = facts.install
    if facts.install_on_jetson:
        fix = f"on a Jetson it comes with JetPack: {facts.install_on_jetson}; elsewhere {fix}"
    if reasons:
        reason = " ".join("; ".join(reasons).split())
        raise EngineError(f"{facts.title} is installed but cannot be loaded ({reason}): {fix}")
    raise EngineError(f"{facts.title} is not installed: {fix}")


def _first_of(names: tuple[str, ...]) -> tuple[ModuleType | None, list[str]]:
    """The first module that can be imported, or why those that are there cannot."""
    reasons = []
    for name in names:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as exc:
            # The module is there, and one that it imports is not.
            if exc.name != name:
                reasons.append(f"{name}: {exc}")
        except (ImportError, OSError) as exc:
            reasons.append(f"{name}: {exc}")
        else:
            if hasattr(module, "__version__"):  # else a folder that only has the name
                return module, []
    return None, reasons


def _make_logger(trt: Any, log: Log) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the binding does not accept super()

        def log(self, severity: Any, msg: str) -> None:
            log.add(Message(severity.name, msg))

    return Logger()
