"""Without a GPU the error reports that, and names no package to install."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import invoke

from munit_edge import errors, extras
from munit_edge.engines import gpu_presence
from munit_edge.engines.gpu_presence import require_gpu
from munit_edge.engines.probe import Answer, Facts
from munit_edge.errors import EngineError

NO_DRIVER = Answer(subject="driver", installed=False)
NO_GPU = Answer(subject="driver", installed=True, facts=Facts(version="12.6", gpu_fault="cuInit"))
DAMAGED = Answer(subject="driver", installed=True, fault="OSError: file too short")
GPU = Answer(subject="driver", installed=True, facts=Facts(version="13.0", gpus=("L4 (8.9)",)))


def driver_is(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_presence, "ask", lambda subject: answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NO_DRIVER, "there is no usable NVIDIA driver: install NVIDIA's driver"),
        (NO_GPU, r"there is no usable NVIDIA GPU here \(cuInit\): check `nvidia-smi`"),
        (DAMAGED, r"there is no usable NVIDIA GPU here \(OSError: file too short\)"),
    ],
    ids=["no driver", "no GPU", "damaged"],
)
def test_what_is_missing_of_the_gpu(
    answer: Answer, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_is(answer, monkeypatch)
    with pytest.raises(EngineError, match=words):
        require_gpu()
    driver_is(GPU, monkeypatch)
    require_gpu()


def nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package of an engine can be imported."""

    def require(module: str, purpose: str, *, extra: str | None = None) -> None:
        package = module.partition(".")[0]
        raise errors.MissingExtraError(package, extra or extras.EXTRAS[package], purpose)

    for name in ("cuda", "onnxruntime.runner", "onnxruntime.session", "torch.runner"):
        monkeypatch.setattr(f"munit_edge.engines.{name}.require", require)


@pytest.mark.parametrize(
    "options",
    [
        ["--engine", "tensorrt"],
        ["--device", "cuda"],
        ["--device", "cuda:1"],
    ],
    ids=" ".join,
)
def test_translate_names_the_gpu_before_a_package(
    options: list[str], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_is_installed(monkeypatch)
    (tmp_path / "x.png").touch()
    words = ["translate", tiny_model, tmp_path / "x.png", "-o", tmp_path / "out"]
    words += ["--direction", "a2b", *options]
    driver_is(NO_DRIVER, monkeypatch)
    result = invoke(*words)
    assert result.exit_code == 2
    assert "there is no usable NVIDIA driver" in result.stderr
    assert "pip install" not in result.stderr
    driver_is(GPU, monkeypatch)
    result = invoke(*words)
    assert result.exit_code == 2
    assert "pip install 'munit-edge[" in result.stderr


def test_export_trt_names_the_gpu_before_a_package(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_is_installed(monkeypatch)
    for answer, words in (
        (NO_DRIVER, "there is no usable NVIDIA driver"),
        (GPU, "pip install 'munit-edge[trt]'"),
    ):
        driver_is(answer, monkeypatch)
        result = invoke("export", "trt", tiny_model)
        assert result.exit_code == 2
        assert words in result.stderr
        assert ("pip install" in result.stderr) == (answer is GPU)
