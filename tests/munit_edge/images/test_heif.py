"""HEIC images, where pillow-heif is installed and where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from munit_edge.errors import InputError, UnreadableImageError
from munit_edge.images import heif
from munit_edge.images import opening as image_opening
from munit_edge.images.folders import find_images
from munit_edge.images.heif import can_read_heif, is_heif
from munit_edge.images.io import count_pixels, read_image
from munit_edge.images.left_out import LeftOut

ORIENTATION = 0x0112


def heic(path: Path, pixels: np.ndarray, orientation: int = 1, quality: int = -1) -> Path:
    """Write a HEIC file; quality -1 is lossless."""
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = pillow_heif.from_pillow(image)
    file.save(path, quality=quality, chroma="444", matrix_coefficients=0, exif=exif.tobytes())
    return path


@pytest.fixture
def pixels() -> np.ndarray:
    """An image that no turn and no mirror leaves as it is."""
    ramp = np.mgrid[0:64, 0:96]
    return np.stack([ramp[0] * 4, ramp[1] * 2, ramp[0] + ramp[1]], -1).astype(np.uint8)


def test_a_heic_image_is_read_like_others(tmp_path: Path, pixels: np.ndarray) -> None:
    path = heic(tmp_path / "IMG_1.HEIC", pixels)
    assert is_heif(path.read_bytes()[:12])
    read = read_image(path, 3)
    assert np.abs(read.pixels.astype(int) - pixels).max() <= 1
    assert count_pixels(path) == 64 * 96
    assert [file.path for file in find_images([tmp_path])] == [path]
    grey = read_image(path, 1)
    assert grey.pixels.shape == (64, 96, 1)


def test_a_phone_held_upright(tmp_path: Path, pixels: np.ndarray) -> None:
    path = heic(tmp_path / "x.heic", pixels, orientation=6)
    read = read_image(path, 3).pixels
    assert np.abs(read.astype(int) - np.rot90(pixels, -1)).max() <= 1


def test_alpha_is_kept(tmp_path: Path, pixels: np.ndarray) -> None:
    alpha = np.full((64, 96, 1), 255, np.uint8)
    alpha[:, :48] = 0
    path = heic(tmp_path / "x.heic", np.concatenate([pixels, alpha], -1))
    read = read_image(path, 3)
    assert read.alpha is not None
    assert (read.alpha == alpha[..., 0]).all()


def test_damage_and_bombs_are_named(tmp_path: Path, pixels: np.ndarray) -> None:
    path = heic(tmp_path / "x.heic", pixels)
    with pytest.raises(InputError, match="96 x 64 pixels"):
        read_image(path, 3, max_megapixels=0.001)
    data = path.read_bytes()
    for length in (20, 200, len(data) - 100):
        path.write_bytes(data[:length])
        with pytest.raises(UnreadableImageError, match=r"x\.heic is damaged"):
            read_image(path, 3)


def test_without_the_extra_it_is_named(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = heic(tmp_path / "photo", pixels)
    monkeypatch.setattr(image_opening, "can_read_heif", lambda: False)
    with pytest.raises(UnreadableImageError, match=r"is a HEIC image: run `pip install .*heif"):
        read_image(path, 3)


def test_several_images_are_counted_and_the_main_one_is_read(tmp_path: Path) -> None:
    file = pillow_heif.from_pillow(Image.new("RGB", (32, 32), "red"))
    file.add_from_pillow(Image.new("RGB", (32, 32), "blue"))
    file.save(tmp_path / "x.heic", primary_index=1)
    read = read_image(tmp_path / "x.heic", 3)
    assert read.frames == 2
    assert read.pixels[0, 0, 2] > 240


@pytest.mark.parametrize(("code", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_by_name(tmp_path: Path, code: int, name: str) -> None:
    file = pillow_heif.from_pillow(Image.new("RGB", (32, 32), "red"))
    file.save(tmp_path / "x.hif", color_primaries=9, transfer_characteristics=code)
    with pytest.raises(UnreadableImageError, match=rf"x\.hif is a HEIC with HDR .*\({name}\)"):
        read_image(tmp_path / "x.hif", 3)


@pytest.fixture
def import_fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Exception], None]]:
    """Make the import of pillow-heif fail with an error."""

    def fail(exc: Exception) -> None:
        def importing(name: str) -> None:
            raise exc

        heif._load.cache_clear()
        monkeypatch.setattr(heif.importlib, "import_module", importing)

    yield fail
    monkeypatch.undo()
    heif._load.cache_clear()
    assert can_read_heif()


def test_a_missing_package_is_no_error(import_fails: Callable[[Exception], None]) -> None:
    import_fails(ModuleNotFoundError(name="pillow_heif"))
    assert not can_read_heif()
    assert heif.heif_fault() is None


def test_a_package_that_does_not_load_is_named(
    tmp_path: Path, pixels: np.ndarray, import_fails: Callable[[Exception], None]
) -> None:
    heic(tmp_path / "x.heic", pixels)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    import_fails(ImportError("libheif.so.1: cannot open shared object file"))
    left_out = LeftOut()
    assert [file.path.name for file in find_images([tmp_path], left_out=left_out)] == ["x.png"]
    assert "1 HEIC" in str(left_out)
    with pytest.raises(
        UnreadableImageError, match=r"cannot be loaded \(libheif\.so\.1: .*reinstall"
    ):
        read_image(tmp_path / "x.heic", 3)
