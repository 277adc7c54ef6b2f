"""`munit-edge translate` on real files and a tiny exported model."""

import contextlib
import io
import json
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PROGRAM, invoke
from hang_guard import HANG_S, narrow_pipe, without_progress
from noise_images import noise
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from typer.testing import Result

from munit_edge import Translator
from munit_edge.cli.translate_parameters import Parameters
from munit_edge.files import atomic as files
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.images.io import ImageData, write_image
from munit_edge.model.manifest import read_manifest
from munit_edge.styles.files import NamedStyle, StyleFile, write_style_file
from munit_edge.translate import writing
from munit_edge.translate.log import LOG_FILE
from munit_edge.translate.run import TranslatedInput
from munit_edge.translate.sheets import SHEET_ROWS


def run(model: Path, *arguments: object, stdin: bytes | None = None) -> Result:
    words = ["translate", str(model), *map(str, arguments)]
    if "--direction" not in words:
        words += ["--direction", "a2b"]
    return invoke(*words, stdin=stdin)


def noise_image(height: int = 24, width: int = 32, channels: int = 3, seed: int = 0) -> Image.Image:
    return Image.fromarray(noise(height, width, channels, seed).squeeze())


def save(path: Path, image: Image.Image | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or noise_image()).save(path, **options)
    return path


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def names(folder: Path) -> list[str]:
    """Files of a folder; the log is tested in test_translate_log.py."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != LOG_FILE)
    return sorted(p.relative_to(folder).as_posix() for p in files)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


# ----------------------------------------------------------------------------------------------
# Results


def test_results_are_those_of_the_translator(tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.png", noise_image(21, 35))
    result = run(tiny_model, source, "-o", tmp_path / "out", "--styles", 3, "--seed", 5)
    assert result.exit_code == 0, result.output
    expected = [tmp_path / "out" / f"x_{index:02d}.png" for index in range(3)]
    assert result.stdout.splitlines() == [str(path) for path in expected]
    assert "1 image translated, 3 results in" in result.stderr
    assert "onnxruntime on cpu" in result.stderr
    with Translator.open(tiny_model) as translator:
        styles = translator.sample_styles(3, seed=5)
        images = translator.translate(pixels(source)[None], "a2b", styles=styles)[0]
    for path, image in zip(expected, images, strict=True):
        assert image.shape == (21, 35, 3)
        np.testing.assert_array_equal(pixels(path), image)


def test_four_styles_by_default_and_the_other_direction(tiny_model: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "x.png")
    for direction in ("a2b", "b2a"):
        out = tmp_path / direction
        assert run(tiny_model, tmp_path / "in", "-o", out, "--direction", direction).exit_code == 0
        assert names(out) == [f"x_{index:02d}.png" for index in range(4)]
    assert contents(tmp_path / "a2b")["x_00.png"] != contents(tmp_path / "b2a")["x_00.png"]


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_same_seed_same_bytes(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    source = save(tmp_path / "x.png")
    for out, seed in (("one", 1), ("two", 1), ("other", 2)):
        options = ["--format", kind, "--seed", seed, "--grid"]
        assert run(tiny_model, source, "-o", tmp_path / out, *options).exit_code == 0
    one, two, other = (contents(tmp_path / out) for out in ("one", "two", "other"))
    assert one == two
    assert len(one) == 5
    assert all(one[name] != other[name] for name in one)


def test_every_input_gets_the_same_styles(tiny_model: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "x.png")
    save(tmp_path / "in" / "y.png")
    assert run(tiny_model, tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    results = contents(tmp_path / "out")
    assert results["x_02.png"] == results["y_02.png"] != results["x_01.png"]


def test_size_resizes_the_shorter_side(tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.png", noise_image(60, 41, 4))
    result = run(tiny_model, source, "-o", tmp_path / "out", "--size", 20, "--styles", 1)
    assert result.exit_code == 0, result.output
    assert pixels(tmp_path / "out" / "x_00.png").shape == (29, 20, 4)


def test_reference_images_bring_the_style(tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.png")
    references = [save(tmp_path / f"r{i}.png", noise_image(40, 50, seed=i + 1)) for i in range(2)]
    options = [word for path in references for word in ("--style-image", path)]
    result = run(tiny_model, source, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    with Translator.open(tiny_model) as translator:
        styles = translator.encode_style(np.stack([pixels(path) for path in references]), "b")
        images = translator.translate(pixels(source)[None], "a2b", styles=styles)[0]
    for index in range(2):
        got = pixels(tmp_path / "out" / f"x_{index:02d}.png").astype(int)
        assert np.abs(got - images[index]).max() <= 1  # the references were encoded one by one


def test_size_applies_to_references_too(tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.png", noise_image(20, 20))
    large = noise_image(90, 120, seed=3)
    small = large.resize((26, 20), Image.Resampling.BILINEAR)
    for name, reference in (("large", large), ("small", small)):
        path = save(tmp_path / f"{name}.png", reference)
        options = ["--style-image", path, "--size", 20]
        assert run(tiny_model, source, "-o", tmp_path / name, *options).exit_code == 0
    assert contents(tmp_path / "large") == contents(tmp_path / "small")


def test_saved_styles_follow_the_references(tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.png")
    with Translator.open(tiny_model) as translator:
        codes = translator.sample_styles(2, seed=9)
        model_id = translator.model_id
        expected = translator.translate(pixels(source)[None], "a2b", styles=codes)[0]
    saved = tuple(NamedStyle(name=f"n{i}", code=tuple(map(float, codes[i]))) for i in range(2))
    style = tmp_path / "s.json"
    write_style_file(style, StyleFile(model_sha256=model_id, domain="b", styles=saved))
    guided = ["--style-image", save(tmp_path / "r.png"), "--style", style]
    assert run(tiny_model, source, "-o", tmp_path / "out", *guided).exit_code == 0
    assert names(tmp_path / "out") == ["x_00.png", "x_01.png", "x_02.png"]
    for index in range(2):
        path = tmp_path / "out" / f"x_{index + 1:02d}.png"
        np.testing.assert_array_equal(pixels(path), expected[index])

    wrong = run(tiny_model, source, "-o", tmp_path / "b", "--style", style, "--direction", "b2a")
    assert wrong.exit_code == 2
    assert "domain" in wrong.stderr
    assert not (tmp_path / "b").exists()


# ----------------------------------------------------------------------------------------------
# Kinds of images


@pytest.mark.parametrize(
    ("image", "suffix", "mode"),
    [
        (noise_image(20, 28).convert("L"), "png", "RGB"),
        (noise_image(20, 28).quantize(16), "gif", "RGB"),
        (noise_image(20, 28).convert("1"), "bmp", "RGB"),
        (noise_image(20, 28).convert("CMYK"), "jpg", "RGB"),
        (noise_image(20, 28, 4), "png", "RGBA"),
        (noise_image(20, 28, 4), "webp", "RGBA"),
        (noise_image(20, 28, 2), "png", "RGBA"),
        (Image.fromarray(np.arange(560, dtype=np.uint16).reshape(20, 28) * 100), "png", "RGB"),
        (Image.fromarray(np.arange(560, dtype=np.uint16).reshape(20, 28) * 100), "tiff", "RGB"),
        (Image.fromarray(np.linspace(0, 1, 560, dtype=np.float32).reshape(20, 28)), "tiff", "RGB"),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else value,
)
def test_modes(
    image: Image.Image, suffix: str, mode: str, tiny_model: Path, tmp_path: Path
) -> None:
    source = save(tmp_path / f"x.{suffix}", image)
    result = run(tiny_model, source, "-o", tmp_path / "out", "--styles", 1)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "x_00.png") as got:
        assert (got.mode, got.size) == (mode, (28, 20))
        if mode == "RGBA" and suffix == "png":
            alpha = image.getchannel("A")
            assert got.getchannel("A").tobytes() == alpha.tobytes()


def test_alpha_is_laid_on_white_for_jpeg_and_reported(tiny_model: Path, tmp_path: Path) -> None:
    image = noise_image(20, 28, 4)
    image.putalpha(0)
    source = save(tmp_path / "x.png", image)
    result = run(tiny_model, source, "-o", tmp_path / "out", "--format", "jpg", "--styles", 2)
    assert result.exit_code == 0
    assert "warning: 1 image with transparency was laid on white" in result.stderr
    assert pixels(tmp_path / "out" / "x_01.jpg").min() == 255


@pytest.mark.parametrize(
    ("direction", "mode", "expected"),
    [("a2b", "L", "RGBA"), ("a2b", "LA", "RGBA"), ("b2a", "RGBA", "L")],
)
def test_grey_and_rgba_domains(
    direction: str, mode: str, expected: str, tiny_sn_model: Path, tmp_path: Path
) -> None:
    source = save(tmp_path / "x.png", noise_image(20, 28, 4).convert(mode))
    result = run(tiny_sn_model, source, "-o", tmp_path / "out", "--direction", direction)
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "x_00.png") as got:
        assert (got.mode, got.size) == (expected, (28, 20))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, tiny_model: Path, tmp_path: Path) -> None:
    """An image with a tag gives the same results as the one that the tag means."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    tagged = save(tmp_path / "tagged" / "x.png", noise_image(20, 28), exif=exif)
    with Image.open(tagged) as image:
        upright = save(tmp_path / "upright" / "x.png", ImageOps.exif_transpose(image))
    for source in (tagged, upright):
        out = source.parent / "out"
        assert run(tiny_model, source, "-o", out, "--styles", 1).exit_code == 0
    assert contents(tagged.parent / "out") == contents(upright.parent / "out")


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_colour_profile_is_kept(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = save(tmp_path / "x.png", icc_profile=profile)
    options = ["--styles", 1, "--format", kind]
    assert run(tiny_model, source, "-o", tmp_path / "out", *options).exit_code == 0
    with Image.open(tmp_path / "out" / f"x_00.{kind}") as got:
        assert got.info["icc_profile"] == profile


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (17, 33)])
def test_any_size(size: tuple[int, int], tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.png", Image.new("RGB", size, (9, 99, 199)))
    assert run(tiny_model, source, "-o", tmp_path / "out", "--styles", 1).exit_code == 0
    with Image.open(tmp_path / "out" / "x_00.png") as got:
        assert got.size == size


# ----------------------------------------------------------------------------------------------
# Names


def test_names_never_collide(tiny_model: Path, tmp_path: Path) -> None:
    inputs = [
        save(tmp_path / name, noise_image(8, 8, seed=seed))
        for seed, name in enumerate(["x.jpg", "x.png", "a/x.png", "ü and space.png", "x_00.png"])
    ]
    result = run(tiny_model, *inputs, "-o", tmp_path / "out", "--styles", 1)
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == sorted(
        ["x_jpg_00.png", "x_png_00.png", "x_png-2_00.png", "ü and space_00.png", "x_00_00.png"]
    )
    assert len(set(contents(tmp_path / "out").values())) == 5


def test_folders_are_kept(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("x.png", "sub/x.png"):
        save(tmp_path / "in" / name)
    options = ["--styles", 1, "-r"]
    out = tmp_path / "in" / "results"
    for _ in range(2):  # the results of the first time are no inputs of the second
        result = run(tiny_model, tmp_path / "in", "-o", out, *options, "--overwrite")
        assert result.exit_code == 0, result.output
        assert names(out) == ["sub/x_00.png", "x_00.png"]
    assert run(tiny_model, tmp_path / "in", "-o", tmp_path / "flat", "--styles", 1).exit_code == 0
    assert names(tmp_path / "flat") == ["x_00.png"]


def test_existing_results_are_refused_before_any_work(tiny_model: Path, tmp_path: Path) -> None:
    inputs = [save(tmp_path / name) for name in ("x.png", "y.png")]
    out = tmp_path / "out"
    save(out / "y_01.png").write_bytes(b"mine")
    result = run(tiny_model, *inputs, "-o", out)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "y_01.png exists already: name another folder or pass --overwrite" in result.stderr
    assert contents(out) == {"y_01.png": b"mine"}
    assert run(tiny_model, *inputs, "-o", out, "--overwrite").exit_code == 0
    assert len(names(out)) == 8
    again = run(tiny_model, *inputs, "-o", out)
    assert "x_00.png and 7 more results exist already" in again.stderr


def test_inputs_are_never_replaced(tiny_model: Path, tmp_path: Path) -> None:
    inputs = [save(tmp_path / "x.png"), save(tmp_path / "x_00.png", noise_image(9, 9))]
    before = contents(tmp_path)
    result = run(tiny_model, *inputs, "-o", tmp_path, "--overwrite")
    assert result.exit_code == 2
    assert "x_00.png is an input and would be replaced" in result.stderr
    options = ["--style-image", inputs[1], "--overwrite"]
    result = run(tiny_model, inputs[0], "-o", tmp_path, *options)
    assert result.exit_code == 2
    assert contents(tmp_path) == before


# ----------------------------------------------------------------------------------------------
# Contact sheets, standard streams, JSON


def test_grid_is_written_beside_the_results(tiny_model: Path, tmp_path: Path) -> None:
    sources = [save(tmp_path / f"{i}.png", Image.new("RGB", (48, 48), (250, i, 0))) for i in (1, 2)]
    reference = save(tmp_path / "r.png", Image.new("RGB", (48, 48), (0, 0, 250)))
    options = ["--grid", "--style-image", reference]
    result = run(tiny_model, *sources, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "out") == ["1_00.png", "2_00.png", "contact_sheet.png"]
    assert f"contact sheet: {tmp_path / 'out' / 'contact_sheet.png'}" in result.stderr
    sheet = pixels(tmp_path / "out" / "contact_sheet.png")
    wanted = [(250, 1, 0), (250, 2, 0), (0, 0, 250)]
    wanted += [tuple(pixels(tmp_path / "out" / f"{i}_00.png")[20, 20]) for i in (1, 2)]
    for colour in wanted:
        assert (sheet == colour).all(axis=2).any(), colour


def test_many_inputs_fill_several_sheets(tiny_model: Path, tmp_path: Path) -> None:
    for index in range(SHEET_ROWS + 1):
        save(tmp_path / "in" / f"{index:03d}.png", noise_image(8, 8))
    options = ["--grid", "--styles", 1]
    assert run(tiny_model, tmp_path / "in", "-o", tmp_path / "out", *options).exit_code == 0
    first, second = (tmp_path / "out" / f"contact_sheet{n}.png" for n in ("", "-2"))
    assert pixels(first).shape[0] > 10 * pixels(second).shape[0]
    assert not (tmp_path / "out" / "contact_sheet-3.png").exists()


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_from_standard_input_to_standard_output(
    kind: str, name: str, tiny_model: Path, tmp_path: Path
) -> None:
    data = encoded(noise_image(20, 28))
    result = run(tiny_model, "-", "--seed", 3, "--format", kind, stdin=data)
    assert result.exit_code == 0, result.stderr
    with Image.open(io.BytesIO(result.stdout_bytes)) as got:
        assert (got.format, got.size) == (name, (28, 20))
    source = save(tmp_path / "x.png", noise_image(20, 28))
    options = ["--seed", 3, "--styles", 1, "--format", kind]
    assert run(tiny_model, source, "-o", tmp_path / "out", *options).exit_code == 0
    assert result.stdout_bytes == (tmp_path / "out" / f"x_00.{kind}").read_bytes()


def test_contact_sheet_on_standard_output(tiny_model: Path) -> None:
    result = run(tiny_model, "-", "--grid", "--size", 48, stdin=encoded(noise_image(60, 60)))
    assert result.exit_code == 0, result.stderr
    with Image.open(io.BytesIO(result.stdout_bytes)) as sheet:
        assert sheet.width > 4 * 192 > sheet.height


@pytest.mark.parametrize(
    ("arguments", "data", "code", "fault"),
    [
        (["--styles", "2"], b"x", 2, "there are 2 styles: pass --grid"),
        ([], b"", 1, "standard input is empty"),
        ([], b"no image", 1, "standard input is not a supported image"),
        (["-o", "out"], b"x", 2, "leave out -o"),
        (["--json"], b"x", 2, "leave out --json"),
    ],
)
def test_standard_input_faults(
    arguments: list[str], data: bytes, code: int, fault: str, tiny_model: Path
) -> None:
    result = run(tiny_model, "-", *arguments, stdin=data)
    assert result.exit_code == code
    assert result.stdout_bytes == b""
    assert fault in result.stderr
    assert result.stderr.count("\n") == 1


def test_json_lines(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "a ü.png", noise_image(20, 28))
    (folder / "b.png").write_bytes(b"")
    out = tmp_path / "out"
    result = run(tiny_model, folder, "-o", out, "--json", "--styles", 2, "--grid")
    assert result.exit_code == 1
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    names = "input outputs size styles tile tile_stats seconds error skipped"
    assert set(good) == set(names.split())
    assert good.pop("seconds") > 0
    assert good == {
        "input": str(folder / "a ü.png"),
        "outputs": [str(out / "a ü_00.png"), str(out / "a ü_01.png")],
        "size": [20, 28],
        "styles": 2,
        "tile": None,
        "tile_stats": None,
        "error": None,
        "skipped": False,
    }
    assert bad["outputs"] == []
    assert bad["size"] is None
    assert "b.png is empty" in bad["error"]
    for line in result.stdout.splitlines():
        TranslatedInput.model_validate_json(line)


# ----------------------------------------------------------------------------------------------
# Bad input


@pytest.fixture
def mixed_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    save(folder / "1.png")
    (folder / "2.png").write_bytes(b"")
    (folder / "3.jpg").write_bytes(encoded(noise_image(64, 64), "JPEG")[:900])
    (folder / "4.png").write_text("no image")
    save(folder / "5.png")
    return folder


def test_unreadable_images_of_a_folder_are_named_and_skipped(
    mixed_folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    result = run(tiny_model, mixed_folder, "-o", tmp_path / "out", "--styles", 1)
    assert result.exit_code == 1
    assert names(tmp_path / "out") == ["1_00.png", "5_00.png"]
    for fault in ("2.png is empty", "3.jpg is damaged", "4.png is not a supported image"):
        assert fault in result.stderr
    assert "2 images translated, 2 results in" in result.stderr
    assert "3 images could not be read" in result.stderr


def test_files_stop_at_the_first_unreadable_image(
    mixed_folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    inputs = sorted(mixed_folder.iterdir())
    result = run(tiny_model, *inputs, "-o", tmp_path / "out", "--styles", 1)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "2.png is empty (0 bytes)" in result.stderr
    assert names(tmp_path / "out") == ["1_00.png"]
    skipped = run(tiny_model, *inputs, "-o", tmp_path / "s", "--styles", 1, "--on-error", "skip")
    assert skipped.exit_code == 1
    assert names(tmp_path / "s") == ["1_00.png", "5_00.png"]
    stopped = run(tiny_model, mixed_folder, "-o", tmp_path / "t", "--on-error", "stop")
    assert stopped.exit_code == 1
    assert len(names(tmp_path / "t")) == 4


def test_bombs_stop_what_skips_nothing(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "1.png", noise_image(50, 100))
    for limit, code in (("0.004", 2), ("0.005", 0)):
        out = tmp_path / limit
        options = ["--max-megapixels", limit, "--styles", 1, "--on-error", "stop"]
        result = run(tiny_model, folder, "-o", out, *options)
        assert result.exit_code == code, result.output
    result = run(tiny_model, folder, "-o", tmp_path / "x", "--max-megapixels", "0.004")
    assert "1.png has 100 x 50 pixels" in result.stderr
    assert "--max-megapixels" in result.stderr
    enlarged = run(tiny_model, folder, "-o", tmp_path / "y", "--size", "10000000")
    assert enlarged.exit_code == 1
    assert "megapixels" in enlarged.stderr


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["nowhere.png", "-o", "out"], "nowhere.png does not exist"),
        (["empty", "-o", "out"], "empty holds no images"),
        (["x.png"], "-o is missing"),
        (["x.png", "-", "-o", "out"], "name no other input"),
        (["x.png", "-o", "x.png"], "x.png is an input and would be replaced"),
        (["x.png", "-o", "x.png/below"], "cannot write x.png/below"),
        (["x.png", "-o", "out", "--style-image", "nowhere.png"], "nowhere.png does not exist"),
        (["x.png", "-o", "out", "--style-image", "empty"], "empty is a folder"),
        (["x.png", "-o", "out", "--style", "nowhere.json"], "nowhere.json does not exist"),
        (["x.png", "-o", "out", "--style", "x.png"], "x.png"),
        (["x.png", "-o", "out", "--styles", "0"], "--styles 0: it should be"),
        (["x.png", "-o", "out", "--styles", "1", "--style-image", "x.png"], "--styles is for"),
    ],
)
def test_one_line_and_no_results(
    arguments: list[str], fault: str, tiny_model: Path, working_folder: Path
) -> None:
    save(Path("x.png"))
    Path("empty").mkdir()
    before = contents(working_folder)
    result = run(tiny_model, *arguments)
    assert result.exit_code == 2
    assert fault in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    assert contents(working_folder) == before


def test_an_unreadable_reference_stops_at_once(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "r.png").write_bytes(b"")
    source = save(tmp_path / "in" / "x.png").parent
    result = run(tiny_model, source, "-o", tmp_path / "out", "--style-image", tmp_path / "r.png")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "r.png is empty" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    result = run(tmp_path / "model", save(tmp_path / "x.png"), "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert not (tmp_path / "out").exists()


def test_odd_metadata_prints_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """Pillow warns of this one; the image itself is whole."""
    cut_in_the_middle = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01"
    source = save(tmp_path / "x.jpg", exif=cut_in_the_middle)
    result = run(tiny_model, source, "-o", tmp_path / "out", "--styles", 1)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1


# ----------------------------------------------------------------------------------------------
# Interruptions and full disks, in a process of their own


def start(model: Path, *arguments: object, **options: Any) -> "subprocess.Popen[bytes]":
    words = [*PROGRAM, "translate", str(model), *map(str, arguments), "--direction", "a2b"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(words, **pipes)


def test_ctrl_c_ends_with_130_and_whole_files(tiny_model: Path, tmp_path: Path) -> None:
    for index in range(300):
        save(tmp_path / "in" / f"{index:03d}.png", noise_image(48, 48))
    out = tmp_path / "out"
    with narrow_pipe() as (reading, writing):
        process = start(tiny_model, tmp_path / "in", "-o", out, "--styles", 1, stdout=writing)
        os.close(writing)
        with open(reading, closefd=False) as results:
            first = results.readline().strip()
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, stderr
    (line,) = without_progress(stderr.decode())
    assert "interrupted" in line
    written = sorted(path for path in out.iterdir() if path.name != LOG_FILE)
    assert str(written[0]) == first
    assert len(written) < 300
    assert not [path for path in written if path.name.startswith(PARTIAL_PREFIX)]
    for path in written:
        assert pixels(path).shape == (48, 48, 3)


def test_ctrl_c_in_the_middle_of_a_file_leaves_the_earlier_one(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path / "x.png")
    out = tmp_path / "out"
    save(out / "x_00.png").write_bytes(b"earlier")

    def interrupt(path: Path) -> None:
        assert path.name.startswith(PARTIAL_PREFIX)
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_sync", interrupt)
    result = run(tiny_model, source, "-o", out, "--overwrite")
    assert result.exit_code == 130
    assert contents(out) == {"x_00.png": b"earlier"}


def test_a_file_that_cannot_grow_is_one_line_and_no_half_file(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The system refuses to write beyond 2000 bytes, as a full disk would."""
    small = save(tmp_path / "a.png", noise_image(8, 8))
    large = save(tmp_path / "b.png", noise_image(64, 64))
    process = start(
        tiny_model,
        *(small, large, "-o", tmp_path / "out", "--styles", 1),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 2
    (line,) = without_progress(stderr.decode())
    assert "error: cannot write" in line
    assert "b_00.png" in line
    assert names(tmp_path / "out") == ["a_00.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_full_standard_output_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.png")
    with Path("/dev/full").open("wb") as full, source.open("rb") as data:
        for arguments, stdin in (
            (["-"], data),
            ([source, "-o", tmp_path / "out", "--json"], None),
        ):
            process = start(tiny_model, *arguments, stdin=stdin, stdout=full)
            _, stderr = process.communicate(timeout=HANG_S)
            assert process.returncode == 2, stderr
            (line,) = without_progress(stderr.decode())
            assert "cannot write standard output: the disk is full" in line


def test_a_reader_that_goes_away_is_no_error(tiny_model: Path, tmp_path: Path) -> None:
    for index in range(300):
        save(tmp_path / "in" / f"{index:03d}.png", noise_image(16, 16))
    words = [tiny_model, tmp_path / "in", "-o", tmp_path / "out", "--styles", 1]
    with narrow_pipe() as (reading, writing), start(*words, stdout=writing) as process:
        os.close(writing)
        assert os.read(reading, 1)
        os.close(reading)
        _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 1
    assert b"Traceback" not in stderr
    assert b"Exception" not in stderr


def test_a_terminal_shows_the_bar_and_results_stay_apart(tiny_model: Path, tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "in" / f"{index}.png", noise_image(16, 16))
    (tmp_path / "in" / "3.png").write_bytes(b"")
    terminal, its_end = pty.openpty()
    arguments = [tmp_path / "in", "-o", tmp_path / "out", "--styles", 1, "--json"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "500"}  # wide enough for any path
    process = start(tiny_model, *arguments, stderr=its_end, env=environment)
    os.close(its_end)
    stdout, _ = process.communicate(timeout=HANG_S)
    shown = b""
    with contextlib.suppress(OSError):  # Linux's way to say that nobody writes any more
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    assert process.returncode == 1
    assert len([json.loads(line) for line in stdout.splitlines()]) == 4
    assert b"4/4" in shown
    assert b"3.png is empty" in shown
    assert b'"input"' not in shown


def test_translating_loads_no_torch(tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.png")
    words = ["translate", str(tiny_model), str(source), "-o", str(tmp_path / "out")]
    words += ["--direction", "a2b", "--grid", "--style-image", str(source)]
    code = (
        "import sys\n"
        "from munit_edge.cli.main import make_app\n"
        f"make_app()({words!r}, standalone_mode=False)\n"
        "assert 'onnxruntime' in sys.modules\n"
        "loaded = [m for m in sys.modules if m.split('.')[0] in ('torch', 'onnx', 'accelerate')]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=HANG_S)


def test_a_checkpoint_runs_with_torch(
    tiny_checkpoint: Path, tiny_model: Path, tmp_path: Path
) -> None:
    source = save(tmp_path / "x.png")
    for model, out in ((tiny_checkpoint, "torch"), (tiny_model, "onnxruntime")):
        result = run(model, source, "-o", tmp_path / out, "--engine", out, "--styles", 1)
        assert result.exit_code == 0, result.output
        assert f"{out} on cpu" in result.stderr
    got, expected = (
        pixels(tmp_path / n / "x_00.png").astype(int) for n in ("torch", "onnxruntime")
    )
    assert np.abs(got - expected).max() <= 1


def test_memory_does_not_grow_with_the_styles(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results are decoded a few at a time, and are the same whatever the step."""
    source = save(tmp_path / "x.png")
    decoded = []
    decode = Translator.decode

    def counting(self: Translator, content: Any, styles: Any, domain: Any) -> Any:
        decoded.append(len(styles))
        return decode(self, content, styles, domain)

    monkeypatch.setattr(Translator, "decode", counting)
    monkeypatch.setattr("munit_edge.translator.DECODE_PIXELS_CPU", 24 * 32 * 2)
    assert run(tiny_model, source, "-o", tmp_path / "few", "--styles", 5).exit_code == 0
    assert decoded == [2, 2, 1]
    monkeypatch.undo()
    assert run(tiny_model, source, "-o", tmp_path / "all", "--styles", 5).exit_code == 0
    assert contents(tmp_path / "few") == contents(tmp_path / "all")


def test_written_images_can_be_inputs_again(tiny_model: Path, tmp_path: Path) -> None:
    grey = np.full((16, 16, 1), 128, np.uint8)
    write_image(tmp_path / "x.png", ImageData(grey, np.full((16, 16), 200, np.uint8)))
    first = run(tiny_model, tmp_path / "x.png", "-o", tmp_path / "one", "--styles", 1)
    second = run(tiny_model, tmp_path / "one", "-o", tmp_path / "two", "--styles", 1)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert names(tmp_path / "two") == ["x_00_00.png"]


def test_animations_and_pages_are_reported_once(tiny_model: Path, tmp_path: Path) -> None:
    """By name where there is one, as a count and an example where there are several."""
    folder = tmp_path / "in"
    folder.mkdir()
    pages = [noise_image(seed=seed) for seed in range(3)]
    pages[0].save(folder / "x.gif", save_all=True, append_images=pages[1:])
    pages[0].save(folder / "still.png")
    result = run(tiny_model, folder, "-o", tmp_path / "one")
    assert result.exit_code == 0
    assert result.stderr.count("x.gif has 3 frames or pages: only the first is translated") == 1
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:2])
    result = run(tiny_model, folder, "-o", tmp_path / "two", "--style-image", folder / "x.gif")
    example = f"such as {folder / 'a.tif'} with 2: "
    assert f"2 images have more than one frame or page, {example}" in result.stderr
    assert "x.gif has 3 frames or pages: only the first is taken" in result.stderr
    (folder / "deeper").mkdir()
    pages[0].save(folder / "deeper/a.tif", save_all=True, append_images=pages[1:2])
    result = run(tiny_model, folder, "-o", tmp_path / "three", "--recursive")
    assert f"3 images have more than one frame or page, {example}" in result.stderr
    stream = run(tiny_model, "-", stdin=(folder / "x.gif").read_bytes())
    assert "standard input has 3 frames or pages" in stream.stderr


def test_a_png_with_long_texts_is_translated(tiny_model: Path, tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("workflow", "x" * 3_000_000, zip=True)
    noise_image().save(tmp_path / "x.png", pnginfo=text)
    result = run(tiny_model, tmp_path / "x.png", "-o", tmp_path / "out", "--styles", 1)
    assert result.exit_code == 0, result.stderr


def test_a_kind_that_is_not_read_is_named(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.int32)).save(tmp_path / "x.tif")
    result = run(tiny_model, tmp_path / "x.tif", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert (
        "x.tif is a TIFF with 32-bit signed grey samples, which is not supported" in result.stderr
    )


# ----------------------------------------------------------------------------------------------
# -o names a folder, or one file


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("result.png", "PNG"),
        ("result.jpg", "JPEG"),
        ("result.JPEG", "JPEG"),
        ("new/er/result.webp", "WEBP"),
    ],
)
def test_one_result_is_exactly_that_file(
    name: str, kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    source, out = save(tmp_path / "x.bmp"), tmp_path / name
    result = run(tiny_model, source, "-o", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    with Image.open(out) as image:
        assert (image.format, image.size) == (kind, (32, 24))
    assert contents(tmp_path).keys() == {"x.bmp", name}
    again = run(tiny_model, source, "-o", out, "--seed", 3)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "exists already" in again.stderr
    before = out.read_bytes()
    assert run(tiny_model, source, "-o", out, "--seed", 3, "--overwrite").exit_code == 0
    assert out.read_bytes() != before
    assert contents(tmp_path).keys() == {"x.bmp", name}


def test_a_slash_and_a_folder_that_is_there_make_a_folder(tiny_model: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "x.bmp")
    (tmp_path / "there.jpg").mkdir()
    for output in (f"{tmp_path}/new.jpg/", tmp_path / "there.jpg", tmp_path / "results.v2"):
        assert run(tiny_model, source, "-o", output, "--styles", 1).exit_code == 0
        assert names(Path(output)) == ["x_00.png"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["x.png", "-o", "r.gif"], "images are written to .png, .jpg (.jpeg) and .webp files"),
        (["x.png", "-o", "r.tiff"], "not to '.tiff'"),
        (["x.png", "-o", "r.mp4"], "only the first frame of an animation is translated"),
        (["x.png", "-o", "r.heic"], "or a folder: -o r/"),
        (["x.png", "-o", "r.jpg", "--format", "png"], "--format png and -o r.jpg contradict"),
        (["x.png", "-o", "r.jpg", "--styles", "2"], "one result, but there are 2 styles"),
        (["x.png", "y.png", "-o", "r.jpg"], "one result, but there are 2 inputs"),
        (["in", "-o", "r.jpg"], "one result, but there is a folder: name a folder (-o r/)"),
        (["x.png", "-o", "r.jpg", "--interpolate", "1", "2"], "there are 8 styles"),
        (["x.png", "-o", "r.jpg", "--spread", "3"], "there are 3 styles"),
        (["x.png", "-o", "r.jpg", "--grid"], "--grid is for a folder of results"),
        (["x.png", "-o", "r.jpg", "--resume"], "--resume is for a folder of results"),
        (["x.png", "-o", "-"], "-o - is standard output"),
    ],
)
def test_what_one_file_cannot_hold_is_refused_before_any_work(
    words: list[str],
    fault: str,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Translator, "open", lambda *_, **__: pytest.fail("too late"))
    for name in ("x.png", "y.png", "in/z.png"):
        save(Path(name))
    before = contents(tmp_path)
    result = run(tiny_model, *words)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert fault in result.stderr
    assert contents(tmp_path) == before


def test_a_saved_file_of_several_styles_is_not_put_into_one_file(
    tiny_model: Path, tmp_path: Path
) -> None:
    model_id = read_manifest(tiny_model).checkpoint_sha256
    saved = tuple(NamedStyle(name=name, code=(0.5,) * 8) for name in ("one", "two"))
    with Translator.open(tiny_model, device="cpu") as translator:
        dim = translator.config.style_dim
    saved = tuple(style.model_copy(update={"code": (0.5,) * dim}) for style in saved)
    write_style_file(
        tmp_path / "s.json", StyleFile(model_sha256=model_id, domain="b", styles=saved)
    )
    words = [save(tmp_path / "x.png"), "-o", tmp_path / "r.png", "--style", tmp_path / "s.json"]
    result = run(tiny_model, *words)
    assert result.exit_code == 2
    assert "takes one result, but there are 2 styles" in result.stderr
    assert not (tmp_path / "r.png").exists()


def test_a_result_that_appears_meanwhile_is_not_replaced(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r.png"

    def write(path: Path, image: ImageData, *, replace: bool) -> None:
        path.write_text("theirs")
        write_image(path, image, replace=replace)

    monkeypatch.setattr(writing, "write_image", write)
    result = run(tiny_model, save(tmp_path / "x.png"), "-o", out)
    assert result.exit_code == 2
    assert "another program has created" in result.stderr
    assert out.read_text() == "theirs"


@pytest.mark.parametrize("resume", [False, True])
def test_the_first_graph_is_opened_before_an_image_is_read(tiny_model: Path, resume: bool) -> None:
    """With --resume there may be nothing to translate, and none is."""
    given = Parameters(model=tiny_model, inputs=["x.png"], direction="a2b", resume=resume)
    with given.model_ahead() as model, model.take() as graphs:
        for thread in threading.enumerate():
            if thread.name.startswith("munit-edge-open"):
                thread.join(HANG_S)
        assert graphs.opened == ([] if resume else ["content_encoder_a"])


def test_a_model_that_nobody_takes_is_closed(tiny_model: Path, tmp_path: Path) -> None:
    """A mistake in an option is found while the model is being opened."""
    result = run(tiny_model, "x.png", "-o", tmp_path / "out", "--styles", 0)
    assert result.exit_code == 2
    assert "--styles" in result.stderr
    assert not [thread for thread in threading.enumerate() if "munit-edge" in thread.name]
