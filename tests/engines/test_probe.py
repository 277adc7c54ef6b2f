"""Backends asked in their own process: real ones, and ones that fail in every way."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
from hang_guard import HANG_S

from munit_edge.engines import probe_child
from munit_edge.engines.probe import ask


@pytest.fixture
def first_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages are found before the installed ones."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_onnxruntime_answers() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    answer = ask("onnxruntime", timeout_s=HANG_S)
    assert answer.facts is not None, answer.fault
    assert answer.facts.version == onnxruntime.__version__
    assert "CPUExecutionProvider" in answer.facts.providers


def test_a_package_that_is_not_there(first_on_path: Path) -> None:
    # A folder of that name without an __init__.py is no package, either.
    (first_on_path / "tensorrt").mkdir()
    answer = ask("tensorrt")
    if answer.facts is not None:
        pytest.skip("TensorRT is installed")
    assert (answer.installed, answer.fault) == (False, None)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import ctypes; ctypes.CDLL('libgone.so.7')", "OSError: libgone.so.7: cannot open"),
        ("import a_part_that_is_gone", "No module named 'a_part_that_is_gone'"),
        ("import os; os.abort()", "its process was ended by SIGABRT"),
        ("import os, sys; print('bye', file=sys.stderr); os._exit(3)", "ended with code 3: bye"),
        ("raise SystemExit(4)", "its process ended with code 4"),
        ("import threading; threading.Event().wait()", "it gave no answer within 0.5 s"),
    ],
    ids=["library", "part", "crash", "exit", "SystemExit", "hang"],
)
def test_a_package_that_fails(first_on_path: Path, source: str, fault: str) -> None:
    (first_on_path / "torch.py").write_text(source)
    answer = ask("torch", timeout_s=0.5 if "Event" in source else HANG_S)
    assert (answer.installed, answer.facts) == (True, None)
    assert fault in str(answer.fault)


def test_what_a_package_prints_is_not_taken_for_the_answer(first_on_path: Path) -> None:
    lines = "print('hello', end='')\n__version__ = '9'\nclass version: cuda = None\n"
    (first_on_path / "torch.py").write_text(lines)
    answer = ask("torch", timeout_s=HANG_S)
    assert answer.facts is not None, answer.fault
    assert (answer.facts.version, answer.facts.cuda) == ("9", None)


class Driver:
    """A double of libcuda.so.1, with the C interface that its header declares."""

    def __init__(self, code: int = 0) -> None:
        self.code = code

    def cuInit(self, flags: int) -> int:
        return self.code

    def cuGetErrorString(self, code: int, text: Any) -> int:
        ctypes.cast(text, ctypes.POINTER(ctypes.c_char_p))[0] = b"in the driver's words"
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        return self._set(version, 12060)

    def cuDeviceGetCount(self, count: Any) -> int:
        return self._set(count, 1)

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return self._set(device, index)

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = b"Orin"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        return self._set(value, {75: 8, 76: 7}[attribute])

    @staticmethod
    def _set(pointer: Any, value: int) -> int:
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = value
        return 0


def test_driver_with_a_gpu() -> None:
    answer = probe_child._ask_driver(lambda name: Driver())
    assert answer.facts is not None
    assert (answer.facts.version, answer.facts.gpus) == ("12.6", ("Orin (8.7)",))


def test_driver_without_a_gpu_is_not_broken() -> None:
    answer = probe_child._ask_driver(lambda name: Driver(100))
    assert answer.facts is not None
    assert answer.facts.gpu_fault == "cuInit: error 100, in the driver's words"


def test_driver_that_does_not_fit_its_library() -> None:
    answer = probe_child._ask_driver(lambda name: Driver(803))
    assert (answer.installed, answer.facts) == (True, None)
    assert answer.fault == "cuInit: error 803, in the driver's words"


def test_no_driver_and_a_damaged_one() -> None:
    def load(reason: str) -> Any:
        def loader(name: str) -> Any:
            raise OSError(f"{name}: {reason}")

        return loader

    gone = "cannot open shared object file: No such file or directory"
    assert not probe_child._ask_driver(load(gone)).installed
    damaged = probe_child._ask_driver(load("file too short"))
    assert (damaged.installed, damaged.fault) == (True, "OSError: libcuda.so.1: file too short")
