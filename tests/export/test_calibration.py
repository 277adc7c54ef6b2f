from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from munit_edge.errors import ConfigError, InputError
from munit_edge.export.calibration import UserImages, read_user_images
from munit_edge.export.options import ExportOptions
from munit_edge.model.config import ModelConfig
from munit_edge.model.precision import Precision

CONFIG = ModelConfig(width=8, num_res_blocks=1, mlp_dim=16)


def _fill(folder: Path, levels: range, size: tuple[int, int] = (40, 32)) -> Path:
    """Flat images, distinguished by their grey level."""
    folder.mkdir(parents=True)
    for level in levels:
        Image.new("RGB", size, (level, level, level)).save(folder / f"{level:03}.png")
    return folder


def _read(*folders: Path, **settings: int) -> UserImages:
    return read_user_images(
        CONFIG, ExportOptions(precision="int8", calibration=folders, **settings)
    )


def _levels(images: list[np.ndarray]) -> list[int]:
    return [int(image.mean()) for image in images]


def test_test_images_are_for_the_gate(tmp_path: Path) -> None:
    for name, levels in {"trainA": range(10), "trainB": range(50, 60)}.items():
        _fill(tmp_path / name, levels)
    _fill(tmp_path / "testA", range(100, 103))
    _fill(tmp_path / "testB", range(200, 203))
    found = _read(tmp_path, calibration_images=4)
    assert _levels(found.calibration["a"]) == [0, 2, 4, 6]
    assert _levels(found.calibration["b"]) == [50, 52, 54, 56]
    assert _levels(found.gate["a"]) == [100, 101, 102]
    assert _levels(found.gate["b"]) == [200, 201, 202]


def test_two_folders_are_shared_out(tmp_path: Path) -> None:
    found = _read(_fill(tmp_path / "x", range(5)), _fill(tmp_path / "y", range(9, 10)))
    assert _levels(found.calibration["a"]) == [0, 2, 4]
    assert _levels(found.gate["a"]) == [1, 3]
    assert _levels(found.calibration["b"]) == _levels(found.gate["b"]) == [9]


def test_broken_images_are_passed_over(tmp_path: Path) -> None:
    folder = _fill(tmp_path / "x", range(4))
    (folder / "000.png").write_bytes(b"no image")
    found = _read(folder, _fill(tmp_path / "y", range(2)))
    assert _levels(found.calibration["a"]) == [2]


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        ((40, 33), {}, (36, 40)),
        ((600, 520), {}, (256, 296)),
        ((5, 7), {}, (16, 16)),
        ((90, 50), {"height": 32, "width": 48}, (32, 48)),
        ((20, 90), {"height": 32, "width": 48}, (32, 48)),
    ],
)
def test_sizes(
    size: tuple[int, int], settings: dict[str, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    """Width and height of the file; height and width of what the graphs get."""
    folders = [_fill(tmp_path / name, range(1), size) for name in "xy"]
    found = _read(*folders, **settings)
    assert {image.shape for image in found.gate["a"]} == {(1, *expected, 3)}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["trainA"], "holds trainA: images of both domains are needed"),
        ([], "holds nothing: images of both domains are needed"),
    ],
)
def test_one_domain_only(names: list[str], message: str, tmp_path: Path) -> None:
    for name in names:
        _fill(tmp_path / name, range(2))
    with pytest.raises(InputError, match=message):
        _read(tmp_path)


def test_an_empty_domain(tmp_path: Path) -> None:
    _fill(tmp_path / "trainA", range(2))
    _fill(tmp_path / "trainB", range(0))
    with pytest.raises(InputError, match=r"domain b has no images in .*trainB"):
        _read(tmp_path)


def test_only_broken_images(tmp_path: Path) -> None:
    folders = [_fill(tmp_path / name, range(1)) for name in "xy"]
    (folders[1] / "000.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the 1 images of domain b.* can be read"):
        _read(*folders)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        _read(tmp_path / "none")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"precision": "int8"},
            "--precision int8 is judged by your .* add --calibration",
        ),
        (
            {"precision": "fp16"},
            "--precision fp16 is judged by your .* add --calibration",
        ),
        ({"calibration": (Path("x"),)}, "--calibration has no effect on fp32"),
        ({"min_psnr_db": 30.0}, "--min-psnr has no effect on fp32"),
        ({"auto_mixed": True}, "--auto-mixed has no effect on fp32"),
        ({"keep_fp32": ("x",)}, "--keep-fp32 has no effect on fp32"),
        ({"precision": "fp16", "calibration": (Path("x"),) * 3}, "--calibration is given 3 times"),
        (
            {"precision": "bf16", "calibration": (Path("x"),), "opset": 21},
            "--precision bf16 needs opset 22 or newer and --opset is 21",
        ),
        (
            {"precision": "fp8", "calibration": (Path("x"),), "opset": 18},
            "--precision fp8 needs opset 19 or newer and --opset is 18",
        ),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], message: str) -> None:
    from munit_edge.settings import validate

    with pytest.raises(ConfigError, match=message):
        validate(ExportOptions, settings, "options")


@pytest.mark.parametrize(
    ("precision", "opset"), [("fp32", 18), ("fp16", 18), ("int8", 18), ("fp8", 19), ("bf16", 22)]
)
@pytest.mark.parametrize("asked", [{}, {"opset": None}])
def test_the_operator_set_follows_the_precision(
    precision: Precision, opset: int, asked: dict[str, None]
) -> None:
    folders = () if precision == "fp32" else (Path("x"),)
    assert ExportOptions(precision=precision, calibration=folders, **asked).opset == opset
    assert ExportOptions(precision=precision, calibration=folders, opset=22).opset == 22


def test_what_is_passed_over_is_reported(tmp_path: Path) -> None:
    first, second = _fill(tmp_path / "x", range(4)), _fill(tmp_path / "y", range(2))
    (first / "000.png").write_bytes(b"no image")
    (first / "a.jxl").touch()
    (second / "b.mov").touch()
    (second / "link").symlink_to(first, target_is_directory=True)
    warnings: list[str] = []
    options = ExportOptions(precision="int8", calibration=(first, second))
    read_user_images(CONFIG, options, warnings.append)
    assert len(warnings) == 2
    assert "000.png is not a supported image" in warnings[0]
    assert warnings[1] == (
        "left out: 1 JPEG XL, 1 video (translate it by itself), 1 linked folder (name the folders "
        "themselves)"
    )
    for file in second.glob("*.png"):
        file.unlink()
    with pytest.raises(InputError, match=r"domain b has no images in .*y \(left out: 1 video"):
        _read(first, second)
