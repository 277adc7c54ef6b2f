"""The package openvino: its devices, graphs and error messages."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from munit_edge.engines.devices import Device
from munit_edge.errors import EngineError
from munit_edge.extras import require
from munit_edge.files.names import one_line
from munit_edge.files.paths import utf8_name

_PURPOSE = "running graphs in OpenVINO"
_REINSTALL = "`pip install --force-reinstall openvino`"

_AROUND_REASONS = re.compile(
    r"Exception from |Check '|FrontEnd API failed|Errors during |While validating |\s*$"
)
"""Beginnings of lines that have no reason: places in OpenVINO's sources, and headings."""
_DRIVERS = {
    "gpu": "install Intel's compute runtime for GPUs (in a container pass `--device /dev/dri`)",
    "npu": "install Intel's driver for NPUs (in a container pass `--device /dev/accel`)",
}
_MAX_XML = 1 << 16  # bytes

_cores: list[Any] = []
_creating = threading.Lock()


def _core(openvino: Any) -> Any:
    """The `openvino.Core` of this process, which lives as long as that.

    Each core gives the thread that loads its CPU plugin a stack for signal handlers, and frees it
    with itself. Of several cores the last can leave a thread with the freed stack of an earlier
    one: then Ctrl-C is a segmentation fault (seen with 2026.4.1).
    """
    with _creating:
        if not _cores:
            _cores.append(openvino.Core())
        return _cores[0]


class OpenVino:
    """OpenVINO's core: reads graphs and compiles them for its devices.

    Attributes:
        version: such as "2026.4.1".
        build: the version, with what tells builds of it apart.

    Raises:
        EngineError: OpenVINO is not installed, or broken.
    """

    def __init__(self) -> None:
        try:
            self._openvino: Any = require("openvino", _PURPOSE)
        except ImportError as exc:
            raise EngineError(
                f"openvino cannot be imported ({reason(exc)}): run {_REINSTALL}"
            ) from exc
        with _sound("does not start"):
            self._core: Any = _core(self._openvino)
        self.build: str = self._openvino.__version__
        self.version: str = self.build.partition("-")[0]

    def device_name(self, device: Device) -> str:
        """What OpenVINO calls a device.

        Raises:
            EngineError: it is not there; the message lists the devices that are.
        """
        # The CPU is always there. Looking for others loads their libraries.
        if device.kind == "cpu":
            return "CPU"
        kind = device.kind.upper()
        # One GPU is "GPU", several are "GPU.0" and so on; the NPU may have its type behind the dot.
        found = [name for name in self._available if name.partition(".")[0] == kind]
        if len(found) == 1 and device.index == 0:
            return str(found[0])
        if device.kind == "gpu" and f"{kind}.{device.index}" in found:
            return f"{kind}.{device.index}"
        raise EngineError(self._absent(device))

    def _absent(self, device: Device) -> str:
        """Why a device cannot be used, and what to do."""
        kind = device.kind.upper()
        names = ", ".join(self.devices)
        fault = ""
        try:
            self._core.get_property(kind, "AVAILABLE_DEVICES")
        except RuntimeError as exc:
            # Only the loader's words explain something.
            if "Cannot load library" in str(exc):
                fault = f" ({reason(exc)})"
        return (
            f"device '{device}' cannot be used: OpenVINO {self.version} finds {names}{fault}: "
            f"{_DRIVERS[device.kind]}, or use --device cpu"
        )

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices that it finds, as `--device` names them.

        Raises:
            EngineError: the installation is broken.
        """
        return tuple(_our_name(name) for name in self._available)

    @property
    def _available(self) -> list[str]:
        with _sound("cannot list its devices"):
            return list(self._core.available_devices)

    def capabilities(self, device_name: str) -> frozenset[str]:
        """Types that a device computes in, such as "FP32", "BF16" and "INT8"; not emulated ones.

        Raises:
            EngineError: the device's library is missing or broken, or its driver.
        """
        kind = device_name.partition(".")[0]
        fix = _DRIVERS.get(kind.lower(), f"run {_REINSTALL}")
        with _sound(f"cannot use the {kind}", fix):
            return frozenset(self._core.get_property(device_name, "OPTIMIZATION_CAPABILITIES"))

    def full_name(self, device_name: str) -> str:
        """The product's name, such as "Intel(R) Xeon(R) Gold 6430"."""
        return str(self._core.get_property(device_name, "FULL_DEVICE_NAME"))

    def read(self, path: Path) -> Any:
        """An ONNX graph as an `openvino.Model`.

        Raises:
            OSError: the file cannot be read.
            RuntimeError: OpenVINO does not take the graph.
            EngineError: the installation is broken.
        """
        # `Core.read_model` would try every format, whatever the file is called.
        with _sound("cannot read ONNX graphs"):
            onnx = self._openvino.frontend.FrontEndManager().load_by_framework("onnx")
        with utf8_name(path) as name:
            try:
                return onnx.convert(onnx.load(name))
            except (OSError, MemoryError):
                raise
            except Exception as exc:  # front ends have classes of their own
                with path.open("rb"):  # of a file that cannot be read the system knows why
                    pass
                raise RuntimeError(str(exc)) from exc

    def compile(
        self, model: Any, device_name: str, properties: dict[str, Any], folder: Path | None = None
    ) -> Any:
        """Compile a model for a device; an `openvino.CompiledModel`.

        Args:
            model: the model.
            device_name: OpenVINO's name of the device.
            properties: how.
            folder: an empty folder to write its blob to, see `written`; None: it is not written.

        Raises:
            RuntimeError: OpenVINO cannot.
        """
        if folder is None:
            return self._core.compile_model(model, device_name, properties)
        with utf8_name(folder) as name:
            # `CompiledModel.export_model` would hold two copies of it in memory.
            return self._core.compile_model(model, device_name, {**properties, "CACHE_DIR": name})

    def written(self, folder: Path) -> tuple[Path, int] | None:
        """File with the blob that `compile` wrote, and where it begins; None: it could not."""
        for path in folder.glob("*.blob"):
            with path.open("rb") as file:
                # One line of XML; `Core.import_model` takes what follows.
                if file.readline(_MAX_XML).startswith(b"<?xml"):
                    return path, file.tell()
        return None

    def load(self, blob: memoryview, device_name: str, properties: dict[str, Any]) -> Any:
        """A compiled model from its blob, whose memory has to outlive it: weights stay there.

        Raises:
            RuntimeError: OpenVINO does not take it.
        """
        memory = self._openvino.Tensor(np.frombuffer(blob, np.uint8), shared_memory=True)
        return self._core.import_model(memory, device_name, properties)

    def arithmetic_of(self, compiled: Any) -> str:
        """The type that a compiled model computes in: "f32", "bf16" or "f16"."""
        return str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())


@contextlib.contextmanager
def _sound(fault: str, fix: str = f"run {_REINSTALL}") -> Iterator[None]:
    """For what works in every sound installation: any error says that this one is not.

    Args:
        fault: what does not work, the words after "OpenVINO".
        fix: what to do.
    """
    try:
        yield
    except Exception as exc:  # front ends have classes of their own
        raise EngineError(f"OpenVINO {fault} ({reason(exc)}): {fix}") from exc


def reason(exc: Exception) -> str:
    """The reason in an error of OpenVINO, without the places in its sources."""
    lines = str(exc).strip().splitlines()
    line = next(
        (line for line in lines if not _AROUND_REASONS.match(line)), lines[0] if lines else ""
    )
    # A library's name is the end of a long path; the loader's words follow.
    return one_line(re.sub(r'^Cannot load library ".*?": ', "", line).strip())


def _our_name(name: str) -> str:
    """OpenVINO's "GPU.1" as the "gpu:1" of `--device`; a single GPU is its "GPU"."""
    kind, _, index = name.lower().partition(".")
    return f"gpu:{index or 0}" if kind == "gpu" else kind
