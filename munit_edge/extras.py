"""Optional packages: imported if installed, else named with the command that installs them."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NoReturn

from munit_edge.errors import MissingExtraError

EXTRAS = {
    "accelerate": "train",
    "av": "video",
    "cuda": "trt",
    "onnx": "export",
    "onnxruntime": "cpu",
    "onnxscript": "export",
    "openvino": "openvino",
    "pillow_heif": "heif",
    "safetensors": "train",
    "tensorboard": "train",
    "torch": "train",
}
"""The extra that installs each optional package."""

SENDERS = {"openvino": "openvino_telemetry"}
"""What packages send telemetry with, unasked, as soon as they are imported: OpenVINO writes an
identity into the home folder and reports the import. Each has a stand-in for where it is not
installed."""

_importing = threading.Lock()


def require(module: str, purpose: str, *, extra: str | None = None) -> ModuleType:
    """Import an optional module.

    Args:
        module: dotted name, such as "onnx.checker".
        purpose: the subject of the message, such as "exporting graphs".
        extra: the extra to name; None: the one in `EXTRAS`.

    Raises:
        MissingExtraError: the package is not installed; the message contains the pip command.
    """
    package = module.partition(".")[0]
    try:
        return import_silently(module)
    except ModuleNotFoundError as exc:
        # Installed, but something that it imports is missing.
        if exc.name != package:
            raise
        raise MissingExtraError(package, extra or EXTRAS[package], purpose) from exc


def import_silently(module: str) -> ModuleType:
    """Import a module, without letting its package report that to anybody.

    Args:
        module: dotted name, such as "openvino".
    """
    sender = SENDERS.get(module.partition(".")[0])
    with _without(None if module in sys.modules else sender):
        return importlib.import_module(module)


@contextlib.contextmanager
def _without(sender: str | None) -> Iterator[None]:
    """For the block the package `sender` is not there, unless it was imported before."""
    if sender is None or sys.modules.get(sender) is not None:
        yield
        return
    with _importing:
        sys.modules[sender] = None  # type: ignore[assignment]  # for Python: there is none
        try:
            yield
        finally:
            del sys.modules[sender]


class _Missing(type):
    """Metaclass of stand-ins: any attribute is the stand-in again, and calling it raises."""

    package: str
    purpose: str

    def __getattr__(cls, name: str) -> Any:
        # Python and its tools probe for special names, and must not find them.
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, item: object) -> Any:
        return cls

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise MissingExtraError(cls.package, EXTRAS[cls.package], cls.purpose)


def missing(package: str, purpose: str) -> Any:
    """A stand-in for a package that is not installed.

    Modules that define classes on top of the package can still be imported, read and documented;
    the first use of such a class or function raises `MissingExtraError`.
    """
    return _Missing(package, (), {"package": package, "purpose": purpose})
