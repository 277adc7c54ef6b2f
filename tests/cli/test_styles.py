"""`munit-edge styles` on real files and a tiny exported model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import invoke
from noise_images import save_noise
from PIL import Image
from typer.testing import Result

from munit_edge import Translator
from munit_edge.export import model_directory
from munit_edge.files.atomic import sha256
from munit_edge.images.contact_sheet import CELL, MIN_CELL
from munit_edge.model.manifest import read_manifest
from munit_edge.styles.codes import interpolate_styles, sample_styles, spread_styles
from munit_edge.styles.files import ImagesOrigin, SpreadOrigin
from munit_edge.styles.saved import SavedStyles
from munit_edge.styles.thumbnails import draw_code


def save(model: Path, name: str, *options: object, domain: str = "b") -> Result:
    return invoke("styles", "save", model, name, "--domain", domain, *options)


def saved(model: Path, name: str, *options: object, domain: str = "b") -> Result:
    result = save(model, name, *options, domain=domain)
    assert result.exit_code == 0, result.output
    return result


def code(model: Path, name: str) -> Any:
    (code,) = SavedStyles.of(model).read(name).codes
    return code


def encoded(model: Path, *paths: Path) -> Any:
    """Codes of domain b, float32 [images, 8]."""
    with Translator.open(model) as translator:
        images = [np.asarray(Image.open(path)) for path in paths]
        return np.concatenate([translator.encode_style(p[None], "b") for p in images])


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model directory that may be written to."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


# ----------------------------------------------------------------------------------------------
# Saving


def test_a_seed_saves_what_translate_draws(model: Path, tmp_path: Path) -> None:
    result = saved(model, "red", "--seed", 5, "--index", 2)
    assert result.stdout == f"{model / 'styles' / 'red.json'}\n"
    assert "red: seed 5, sample 2; length" in result.stderr
    np.testing.assert_array_equal(code(model, "red"), sample_styles(3, 8, 5)[2])
    source = save_noise(tmp_path / "x.png")
    for out, options in (("seed", ["--styles", 3, "--seed", 5]), ("name", ["--style", "red"])):
        words = ["translate", model, source, "-o", tmp_path / out, "--direction", "a2b", *options]
        assert invoke(*words).exit_code == 0
    same = [(tmp_path / name).read_bytes() for name in ("seed/x_02.png", "name/x_00.png")]
    assert same[0] == same[1]


def test_images_are_averaged(model: Path, tmp_path: Path) -> None:
    paths = [save_noise(tmp_path / "p" / f"{seed}.png", seed=seed) for seed in range(3)]
    result = saved(model, "mean", "--from", tmp_path / "p")
    assert "mean: mean of 3 images: 0.png, 1.png, 2.png; length" in result.stderr
    codes = encoded(model, *paths)
    np.testing.assert_allclose(code(model, "mean"), codes.mean(axis=0), atol=1e-6)
    origin = json.loads((model / "styles" / "mean.json").read_text())["styles"][0]["origin"]
    assert origin["pictures"] == [{"file": path.name, "sha256": sha256(path)} for path in paths]

    saved(model, "two", "--from", paths[0], "--from", paths[2])
    np.testing.assert_allclose(code(model, "two"), codes[[0, 2]].mean(axis=0), atol=1e-6)


def test_size_resizes_references(model: Path, tmp_path: Path) -> None:
    large = save_noise(tmp_path / "large.png", 60, 90)
    small = tmp_path / "small.png"
    Image.open(large).resize((30, 20), Image.Resampling.BILINEAR).save(small)
    saved(model, "large", "--from", large, "--size", 20)
    np.testing.assert_allclose(code(model, "large"), encoded(model, small)[0], atol=1e-6)


def test_spread_saves_one_file_each(model: Path) -> None:
    result = saved(model, "s", "--spread", 3, "--seed", 4)
    names = ["s_00", "s_01", "s_02"]
    assert result.stdout.splitlines() == [str(model / "styles" / f"{name}.json") for name in names]
    codes = [code(model, name) for name in names]
    np.testing.assert_array_equal(codes, spread_styles(3, 8, seed=4))


def test_interpolation_of_saved_ones_into_one_file(model: Path, tmp_path: Path) -> None:
    saved(model, "red", "--seed", 5)
    file = tmp_path / "way.json"
    result = saved(model, "way", "--interpolate", "red", 7, "--frames", 3, "-o", file)
    assert result.stdout == f"{file}\n"
    styles = SavedStyles.of(model).read(str(file), "b")
    assert [style.name for style in styles.styles] == ["way_00", "way_01", "way_02"]
    ends = sample_styles(1, 8, 5)[0], sample_styles(1, 8, 7)[0]
    np.testing.assert_array_equal(styles.codes, interpolate_styles(*ends, 3))
    assert not (model / "styles" / "way_00.json").exists()


def test_overwrite(model: Path) -> None:
    saved(model, "s_01", "--seed", 1)
    refused = save(model, "s", "--spread", 2)
    assert refused.exit_code == 2
    assert "s_01.json exists already: choose another name or pass --overwrite" in refused.stderr
    assert SavedStyles.of(model).names() == ["s_01"]
    saved(model, "s", "--spread", 2, "--overwrite")
    (style,) = SavedStyles.of(model).read("s_01").styles
    assert style.origin == SpreadOrigin(seed=0, index=1)


def test_a_reference_far_outside_is_reported(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Translator, "encode_style", lambda *_: np.full((1, 8), 2, np.float32))
    result = saved(model, "x", "--from", save_noise(tmp_path / "ref.png"))
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert "ref.png is far outside the prior N(0, I): its length is 5.66" in line


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a/b", ["--seed", 1], "'a/b' cannot be the name of a style"),
        ("7", ["--seed", 1], "'7' cannot be the name of a style"),
        ("x" * 63, ["--spread", 2], "64 characters at most"),
        ("x", [], "the style has no source: pass --seed, --from, --spread or --interpolate"),
        ("x", ["--from", "p", "--spread", 2], "--from and --spread are two sources"),
        ("x", ["--from", "p", "--seed", 2], "--seed has no effect with --from"),
        ("x", ["--seed", 2, "--size", 9], "--size has no effect with --seed"),
        ("x", ["--seed", 2, "--no-thumbnail"], "--no-thumbnail has no effect with --seed"),
        ("x", ["--spread", 2, "--index", 1], "--index has no effect with --spread"),
        ("x", ["--interpolate", 1, 2, "--seed", 1], "--seed has no effect with --interpolate"),
        ("x", ["--seed", -1], "--seed -1: it should be"),
        ("x", ["--interpolate", 1, 2, "--frames", 1], "--frames 1: it should be"),
        ("x", ["--interpolate", 1, "no"], "holds no style 'no' (none is saved there)"),
        ("x", ["--from", "no.png"], "no.png does not exist"),
        ("x", ["--seed", 1, "-o", "x.txt"], "-o is x.txt: name a file that ends in .json"),
    ],
)
def test_what_cannot_be_saved(model: Path, name: str, options: list[object], message: str) -> None:
    result = save(model, name, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (model / "styles").exists()


def test_only_model_directories(tmp_path: Path) -> None:
    result = save(tmp_path, "x", "--seed", 1)
    assert result.exit_code == 2
    assert "is no model directory" in result.stderr


# ----------------------------------------------------------------------------------------------
# Listing


def test_list(model: Path) -> None:
    assert invoke("styles", "list", model).stdout == f"0 styles in {model / 'styles'}\n"
    saved(model, "red", "--seed", 5)
    saved(model, "blue", "--seed", 6, domain="a")
    (model / "styles" / "bad.json").write_text("{")
    red = (model / "styles" / "red.json").read_text()
    foreign = red.replace(read_manifest(model).checkpoint_sha256, "cd" * 32)
    (model / "styles" / "foreign.json").write_text(foreign)
    lines = invoke("styles", "list", model).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "blue", "red", "bad", "foreign", "2"]
    norm = np.linalg.norm(sample_styles(1, 8, 5)[0])
    assert lines[2].split()[1:3] == ["b", f"{norm:.2f}"]
    assert lines[2].endswith("seed 5, sample 0")
    assert "not used: " in lines[3]
    assert "not a style file" in lines[3]
    assert "saved for another model" in lines[4]
    only = invoke("styles", "list", model, "--domain", "a").stdout
    assert "blue" in only
    assert "red " not in only


def test_list_as_json(model: Path) -> None:
    saved(model, "red", "--seed", 5)
    (model / "styles" / "bad.json").write_text("[]")
    lines = invoke("styles", "list", model, "--json").stdout.splitlines()
    bad, red = map(json.loads, lines)
    assert (bad["name"], bad["file"]) == ("bad", None)
    assert "not a style file" in bad["unusable"]
    assert red["unusable"] is None
    assert red["path"] == str(model / "styles" / "red.json")
    (style,) = red["file"]["styles"]
    np.testing.assert_array_equal(np.array(style["code"], np.float32), sample_styles(1, 8, 5)[0])
    assert style["origin"] == {"kind": "sample", "seed": 5, "index": 0}
    assert 0 < style["prior_distance"]["norm_share"] < 1


def test_the_sheet_shows_every_style(model: Path, tmp_path: Path) -> None:
    saved(model, "s", "--spread", 7)
    source = save_noise(tmp_path / "x.png", CELL, CELL)  # as large as a cell: shown pixel by pixel
    sheet = tmp_path / "sheet.png"
    result = invoke("styles", "list", model, "--sheet", sheet, "--on", source)
    assert result.exit_code == 0, result.output
    assert f"style sheet: {sheet}" in result.stderr
    pixels = np.asarray(Image.open(sheet))
    with Translator.open(model) as translator:
        styles = spread_styles(7, 8)
        images = translator.translate(np.asarray(Image.open(source))[None], "a2b", styles=styles)
    corners = [(20 + row * 222, 20 + column * 200) for row in (0, 1) for column in range(6)]
    places = [pixels[y:, x:] for y, x in corners]
    np.testing.assert_array_equal(places[0][:CELL, :CELL], np.asarray(Image.open(source)))
    for place, image in zip(places[1:8], images[0], strict=True):
        np.testing.assert_array_equal(place[:CELL, :CELL], image)

    assert invoke("styles", "list", model, "--sheet", sheet, "--on", source).exit_code == 2
    words = ["styles", "list", model, "--sheet", sheet, "--on", source, "--size", MIN_CELL]
    assert invoke(*words, "--overwrite").exit_code == 0


def test_a_sheet_without_a_image_shows_references_and_numbers(model: Path, tmp_path: Path) -> None:
    """No engine is needed for it, and styles of both domains may stand there."""
    red = tmp_path / "red.png"
    Image.new("RGB", (40, 24), (200, 0, 0)).save(red)
    saved(model, "a_red", "--from", red)
    saved(model, "b_red", "--from", red, "--no-thumbnail", domain="a")
    saved(model, "c_seed", "--seed", 1)
    sheet = tmp_path / "sheet.png"
    for entry in model.glob("*.onnx"):
        entry.unlink()
    result = invoke("styles", "list", model, "--sheet", sheet)
    assert result.exit_code == 0, result.output
    pixels = np.asarray(Image.open(sheet)).astype(int)
    first, second, third = (pixels[20:116, 20 + 104 * i :][:, :96] for i in range(3))
    assert np.abs(first[48, 48] - (200, 0, 0)).max() < 8, "the image, as JPEG"
    assert tuple(first[2, 48]) == (255, 255, 255), "in its proportions"
    assert np.array_equal(second, draw_code(code(model, "b_red")))
    assert np.array_equal(third, draw_code(code(model, "c_seed")))
    origin = SavedStyles.of(model).read("b_red").styles[0].origin
    assert isinstance(origin, ImagesOrigin)
    assert origin.thumbnail is None


def test_a_sheet_of_grey_images_and_of_transparent_ones(
    tiny_sn_model: Path, tmp_path: Path
) -> None:
    """Domain a of this model is grey, b has alpha."""
    model = Path(shutil.copytree(tiny_sn_model, tmp_path / "model"))
    saved(model, "clear", "--seed", 1)
    saved(model, "grey", "--from", save_noise(tmp_path / "x.png", 24, 40), domain="a")
    assert code(model, "grey").shape == (5,)
    assert invoke("styles", "list", model, "--sheet", tmp_path / "kept.png").exit_code == 0
    for domain in "ab":
        sheet = tmp_path / f"{domain}.jpg"
        words = ["--sheet", sheet, "--on", tmp_path / "x.png", "--domain", domain]
        result = invoke("styles", "list", model, *words)
        assert result.exit_code == 0, result.output
        with Image.open(sheet) as image:
            assert image.size == (2 * 20 + 2 * 160 + 8, 2 * 20 + 160 + 22)


def test_sheets_that_cannot_be_drawn(model: Path, tmp_path: Path) -> None:
    source = save_noise(tmp_path / "x.png")

    def fault(*options: object) -> str:
        result = invoke("styles", "list", model, *options)
        assert result.exit_code == 2
        return result.stderr

    for words in (["--on", source], ["--size", 9], ["--overwrite"]):
        assert f"add --sheet FILE.png, or leave {words[0]} out" in fault(*words)
    assert "add --on PHOTO" in fault("--sheet", tmp_path / "s.png", "--size", 9)
    assert "there is no style to draw" in fault("--sheet", tmp_path / "s.png")
    assert "format '.gif' is not known" in fault("--sheet", tmp_path / "s.gif", "--on", source)
    drawn = ["--sheet", tmp_path / "s.png", "--on", source]
    assert "there is no style to draw" in fault(*drawn)
    saved(model, "red", "--seed", 5)
    assert "there is no style to draw" in fault(*drawn, "--domain", "a")
    saved(model, "blue", "--seed", 5, domain="a")
    assert "styles of both domains are saved: name one" in fault(*drawn)
    drawn[-1] = tmp_path
    assert "takes one image" in fault(*drawn, "--domain", "a")
    assert not (tmp_path / "s.png").exists()


# ----------------------------------------------------------------------------------------------
# Renaming, deleting, and keeping


def test_rename(model: Path) -> None:
    for name in ("red", "blue"):
        saved(model, name, "--seed", 5)
    result = invoke("styles", "rename", model, "red", "rose")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{model / 'styles' / 'rose.json'}\n"
    assert SavedStyles.of(model).names() == ["blue", "rose"]
    assert SavedStyles.of(model).read("rose").styles[0].name == "rose"
    for words, message in (
        (("rose", "blue"), "exists already: choose another name or pass --overwrite"),
        (("rose", "rose"), "'rose' is the style's name already"),
        (("red", "x"), "holds no style 'red' (saved there: blue, rose)"),
        (("rose", "7"), "'7' cannot be the name of a style"),
    ):
        refused = invoke("styles", "rename", model, *words)
        assert refused.exit_code == 2
        assert message in " ".join(refused.stderr.split())
    assert invoke("styles", "rename", model, "rose", "blue", "--overwrite").exit_code == 0
    assert SavedStyles.of(model).names() == ["blue"]


def test_rename_of_several_in_one_file_keeps_their_names(model: Path) -> None:
    saved(model, "s", "--spread", 2, "-o", model / "styles" / "both.json")
    assert invoke("styles", "rename", model, "both", "pair").exit_code == 0
    styles = SavedStyles.of(model).read("pair").styles
    assert [style.name for style in styles] == ["s_00", "s_01"]


def test_delete(model: Path) -> None:
    for name in ("red", "blue", "green"):
        saved(model, name, "--seed", 5)
    refused = invoke("styles", "delete", model, "red", "rad")
    assert refused.exit_code == 2
    assert "holds no style 'rad' (saved there: blue, green, red)" in refused.stderr
    result = invoke("styles", "delete", model, "red", "blue")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    assert SavedStyles.of(model).names() == ["green"]


def test_another_export_keeps_saved_styles(
    tiny_checkpoint: Path, tiny_model: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of another model, too: they are refused, but not lost."""
    ours = read_manifest(tiny_model)
    exported = ours

    def export(given: Any) -> object:
        shutil.copytree(tiny_model, given.directory, dirs_exist_ok=True)
        return exported

    monkeypatch.setattr(model_directory, "_export_fp32", export)
    words = ["export", "onnx", tiny_checkpoint, "-o", model, "--overwrite"]
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert "saved styles" not in result.output
    saved(model, "red", "--seed", 5)
    before = (model / "styles" / "red.json").read_bytes()
    result = invoke(*words)
    assert "kept the earlier model's saved styles (1)" in result.stdout
    assert "warning" not in result.stderr
    exported = ours.model_copy(update={"checkpoint_sha256": "cd" * 32})
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert "1 of them cannot be used with this model" in result.stderr
    assert (model / "styles" / "red.json").read_bytes() == before
