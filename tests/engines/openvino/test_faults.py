"""What OpenVINO cannot do here: one line that says so, and never another device or type."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import outcome
from hang_guard import HANG_S
from noise_images import save_noise

from munit_edge.doctor.selftest import FOLDER, graphs_folder
from munit_edge.engines.openvino import api
from munit_edge.engines.openvino.api import OpenVino, reason
from munit_edge.engines.openvino.runner import open_openvino
from munit_edge.errors import (
    ConfigError,
    EngineError,
    MissingExtraError,
    ModelError,
    UnsupportedGraphError,
)

MODEL = FOLDER / graphs_folder("fp32")

# As OpenVINO 2026.4 and 2025.2 word them.
NO_LIBRARY = (
    "Exception from src/inference/src/cpp/core.cpp:117:\n"
    'Cannot load library "/there/libopenvino_intel_gpu_plugin.so": libOpenCL.so.1: cannot open '
    "shared object file: No such file or directory\n"
)
TOO_OLD = (
    "Exception from src/inference/src/cpp/core.cpp:95:\n"
    "Check 'false' failed at src/frontends/onnx/frontend/src/frontend.cpp:164:\n"
    "FrontEnd API failed with GeneralFailure:\n"
    "Errors during ONNX translation:\n"
    "Check '(data_et.is_static())' failed at src/frontends/onnx/frontend/src/op/quantize.cpp:54:\n"
    "While validating ONNX node '<Node(QuantizeLinear): pad_1_quantize>':\n"
    '"x" input data type must be static.\n'
)


class FakeCore:
    """`openvino.Core` of a machine with other devices."""

    def __init__(self, *devices: str, fault: str = "") -> None:
        self.available_devices = list(devices)
        self._fault = fault

    def get_property(self, device: str, name: str) -> Any:
        if self._fault:
            raise RuntimeError(self._fault)
        return [] if name == "AVAILABLE_DEVICES" else ["FP32", "FP16", "INT8"]


@pytest.fixture
def machine_with(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives OpenVINO the devices of another machine."""

    def pretend(*devices: str, fault: str = "") -> None:
        real = OpenVino.__init__

        def make(self: OpenVino) -> None:
            real(self)
            self._core = FakeCore(*devices, fault=fault)

        monkeypatch.setattr(OpenVino, "__init__", make)

    return pretend


@pytest.mark.parametrize(
    ("devices", "asked", "name"),
    [
        (("CPU",), "auto", "CPU"),
        (("CPU", "GPU"), "gpu", "GPU"),
        (("CPU", "GPU"), "gpu:0", "GPU"),
        (("CPU", "GPU.0", "GPU.1"), "gpu", "GPU.0"),
        (("CPU", "GPU.0", "GPU.1"), "gpu:1", "GPU.1"),
        (("CPU", "NPU"), "npu", "NPU"),
    ],
)
def test_devices_by_name(
    devices: tuple[str, ...], asked: str, name: str, machine_with: Any
) -> None:
    machine_with(*devices)
    with open_openvino(MODEL, asked) as graphs:
        assert graphs._device_name == name
        assert graphs.device == {"auto": "cpu", "gpu": "gpu:0"}.get(asked, asked)


@pytest.mark.parametrize(
    ("devices", "fault", "asked", "message"),
    [
        (("CPU",), NO_LIBRARY, "gpu", r"'gpu:0' .* finds cpu \(libOpenCL.so.1: .*compute runtime"),
        (("CPU", "GPU"), "", "gpu:1", r"'gpu:1' .* finds cpu, gpu:0: "),
        (("CPU", "GPU.0", "GPU.1"), "", "npu", r"finds cpu, gpu:0, gpu:1: .*driver for NPUs"),
    ],
)
def test_an_absent_device_is_an_error_that_lists_the_others(
    devices: tuple[str, ...], fault: str, asked: str, message: str, machine_with: Any
) -> None:
    machine_with(*devices, fault=fault)
    with pytest.raises(EngineError, match=message):
        open_openvino(MODEL, asked)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("npu:1", "use auto, cpu, gpu, gpu:N or npu"),
        ("CPU", "use auto, cpu"),
    ],
)
def test_unknown_devices(device: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_openvino(MODEL, device)


def test_the_command_line_says_so_in_one_line(tmp_path: Path) -> None:
    image = save_noise(tmp_path / "image.png")
    words = ["translate", MODEL, image, "--direction", "a2b", "-o", tmp_path / "out"]
    code, _, errors = outcome(*words, "--engine", "openvino", "--device", "cuda")
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'munit-edge\[openvino\]'"):
        open_openvino(MODEL, "cpu")


def test_broken_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('libtbb.so.12: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    with pytest.raises(EngineError, match=r"cannot be imported \(libtbb.so.12: no such file\)"):
        open_openvino(MODEL, "cpu")


class FakePackage:
    """A module `openvino` whose parts fail; `real` are the classes of its own errors."""

    def __init__(self, real: Any, *, core: str = "", devices: str = "", onnx: str = "") -> None:
        self.__version__ = real.__version__
        self.frontend = self
        self._real = real
        self._core, self._devices, self._onnx = core, devices, onnx

    def Core(self) -> FakePackage:
        if self._core:
            raise RuntimeError(self._core)
        return self

    @property
    def available_devices(self) -> list[str]:
        if self._devices:
            raise RuntimeError(self._devices)
        return ["CPU", "GPU"]

    def get_property(self, device: str, name: str) -> list[str]:
        if device == "GPU" or self._devices:
            raise RuntimeError(NO_LIBRARY if device == "GPU" else self._devices)
        return ["FP32"]

    def FrontEndManager(self) -> FakePackage:
        return self

    def load_by_framework(self, name: str) -> FakePackage:
        # No RuntimeError: OpenVINO's front ends have exceptions of their own.
        raise self._real._pyopenvino.InitializationFailure(self._onnx)


NO_PLUGIN = (
    "Exception from src/inference/src/cpp/core.cpp:268:\n"
    "Exception from src/inference/src/dev/core_impl.cpp:706:\n"
    'Device with "CPU" name is not registered in the OpenVINO Runtime\n\n'
)
NO_FRONT_END = (
    "Check 'false' failed at src/frontends/common/src/manager.cpp:80:\n"
    "FrontEnd API failed with InitializationFailure:\n"
    "FrontEnd for Framework onnx is not found\n"
)


@pytest.mark.parametrize(
    ("device", "faults", "message"),
    [
        ("cpu", {"core": NO_LIBRARY}, "OpenVINO does not start (libOpenCL.so.1: cannot open"),
        ("cpu", {"devices": NO_PLUGIN}, 'OpenVINO cannot use the CPU (Device with "CPU" name is'),
        ("gpu", {"devices": NO_PLUGIN}, 'cannot list its devices (Device with "CPU" name is'),
        ("cpu", {"onnx": NO_FRONT_END}, "cannot read ONNX graphs (FrontEnd for Framework onnx is"),
    ],
)
def test_a_part_of_the_installation_is_missing(
    device: str,
    faults: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import openvino

    monkeypatch.setattr(api, "_cores", [])
    monkeypatch.setattr(api, "require", lambda *words: FakePackage(openvino, **faults))
    image = save_noise(tmp_path / "image.png")
    words = ["translate", MODEL, image, "--direction", "a2b", "-o", tmp_path / "out"]
    code, _, errors = outcome(*words, "--engine", "openvino", "--device", device)
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert message in errors
    assert errors.endswith("run `pip install --force-reinstall openvino`\n")
    assert not (tmp_path / "out").exists()


def test_a_broken_driver_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    monkeypatch.setattr(api, "_cores", [])
    monkeypatch.setattr(api, "require", lambda *words: FakePackage(openvino))
    with pytest.raises(EngineError, match=r"the GPU \(libOpenCL.*compute runtime for GPUs"):
        open_openvino(MODEL, "gpu")


def test_a_graph_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: OpenVino, path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(OpenVino, "read", read)
    with (
        open_openvino(MODEL, "cpu") as graphs,
        pytest.raises(ModelError, match=r"decoder_b.onnx cannot be read \(Permission denied\)"),
    ):
        graphs.runner("decoder", "b")


def test_errors_in_reading_are_of_two_kinds(tmp_path: Path) -> None:
    """Of the file, as the system names them, and of what is in it."""
    with pytest.raises(FileNotFoundError):
        OpenVino().read(tmp_path / "gone.onnx")
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    with pytest.raises(RuntimeError):
        OpenVino().read(tmp_path / "graph.onnx")


def test_too_old_for_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: OpenVino, path: Path) -> Any:
        raise RuntimeError(TOO_OLD)

    monkeypatch.setattr(OpenVino, "read", read)
    with (
        open_openvino(MODEL, "cpu") as graphs,
        pytest.raises(
            UnsupportedGraphError,
            match=r'decoder_b on CPU \("x" input data type must be static.\): update it with `pip',
        ),
    ):
        graphs.runner("decoder", "b")


def test_another_type_than_asked_for_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVino, "arithmetic_of", lambda self, compiled: "bf16")
    with (
        open_openvino(MODEL, "cpu") as graphs,
        pytest.raises(UnsupportedGraphError, match="in bf16 instead of f32 on CPU"),
    ):
        image = np.zeros((1, 16, 16, 3), np.uint8)
        graphs.runner("style_encoder", "b").run({"image": image})


def test_changed_graph_is_refused(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODEL, tmp_path / "model"))
    path = model / "decoder_b.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with (
        open_openvino(model, "cpu") as graphs,
        pytest.raises(ModelError, match="is not the file that was exported"),
    ):
        graphs.runner("decoder", "b")


def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    model = tmp_path / "mod\udce9le"
    shutil.copytree(MODEL, model)
    with open_openvino(model, "cpu") as graphs:
        image = np.zeros((1, 16, 16, 3), np.uint8)
        assert graphs.runner("style_encoder", "b").run({"image": image})["style"].shape == (1, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TOO_OLD, '"x" input data type must be static.'),
        (NO_LIBRARY, "libOpenCL.so.1: cannot open shared object file: No such file or directory"),
        ("Exception from src/a.cpp:1:\n", "Exception from src/a.cpp:1:"),
        ("", ""),
    ],
)
def test_reasons(text: str, expected: str) -> None:
    assert reason(RuntimeError(text)) == expected


SEVERAL = """
import gc, signal, sys
from pathlib import Path
import numpy as np
from munit_edge.engines.factory import open_graphs

def opened():
    graphs = open_graphs(Path(sys.argv[1]), "openvino", "cpu")
    graphs.runner("content_encoder", "a").run({"image": np.zeros((1, 32, 32, 3), np.uint8)})
    return graphs

first, second = opened(), opened()
for graphs in (first, second):
    graphs.close()
del first, second, graphs
gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_after_several_models_were_closed(tiny_model: Path) -> None:
    """Each core of OpenVINO's replaces the stack of signal handlers, and frees its own."""
    command = [sys.executable, "-c", SEVERAL, str(tiny_model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
