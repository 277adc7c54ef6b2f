"""`munit-edge translate --tile`, in torch: no export is needed for that."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import invoke
from PIL import Image

from munit_edge.cli import progress
from munit_edge.translate import images as image_translator
from munit_edge.translate.tiles import TiledTranslation
from munit_edge.translator import Translator


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """90 x 70 pixels."""
    coarse = np.random.default_rng(0).integers(0, 256, (10, 13, 3), dtype=np.uint8)
    Image.fromarray(coarse.repeat(7, axis=0).repeat(7, axis=1)[:, :90]).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def translate(model: Path, photo: Path, *options: str) -> Any:
    words = ["translate", model, photo, "-o", photo.parent / "out", "--direction", "a2b"]
    return invoke(*words, "--styles", 2, *options)


def test_tiles_and_their_cost(tiny_checkpoint: Path, photo: Path) -> None:
    done = translate(tiny_checkpoint, photo, "--tile", "40")
    assert done.exit_code == 0, done.stderr
    assert f"{photo}: 90 x 70 pixels in 6 tiles: about " in done.stderr
    pixels = np.asarray(Image.open(photo))
    with Translator.open(tiny_checkpoint, device="cpu") as translator:
        tiles = TiledTranslation(translator, "a2b")
        expected = list(tiles.translate(pixels, translator.sample_styles(2), core=40))
    for index, result in enumerate(expected):
        written = np.asarray(Image.open(photo.parent / "out" / f"p_0{index}.png"))
        assert (written == result).all()


def test_the_bar_moves_with_every_tile(
    tiny_checkpoint: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    done = translate(tiny_checkpoint, photo, "--tile", "40")
    assert done.exit_code == 0, done.stderr
    lines = re.findall(r"^translating: 0/1, (?:.* left, )p.png: (.*)$", done.stderr, re.MULTILINE)
    assert lines == [f"tile {number} of 6" for number in range(1, 7)]


def test_exact_statistics_are_those_of_the_whole(tiny_checkpoint: Path, photo: Path) -> None:
    out = photo.parent / "out" / "p_01.png"
    done = translate(tiny_checkpoint, photo, "--tile", "off")
    assert done.exit_code == 0, done.stderr
    assert "tile" not in done.stderr
    whole = np.asarray(Image.open(out)).astype(int)
    done = translate(tiny_checkpoint, photo, "--tile", "40", "--tile-stats", "exact", "--overwrite")
    assert done.exit_code == 0, done.stderr
    assert "6 tiles with exact statistics: " in done.stderr
    assert np.abs(np.asarray(Image.open(out)).astype(int) - whole).max() <= 2


def test_what_fits_into_one_tile_stays_whole(tiny_checkpoint: Path, photo: Path) -> None:
    for tile in ("90", "auto"):
        done = translate(tiny_checkpoint, photo, "--tile", tile, "--overwrite")
        assert done.exit_code == 0, done.stderr
        assert "tiles" not in done.stderr


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (
            "8",
            "--tile 8 is too small: this model needs a margin of 36 pixels around each tile",
        ),
        ("big", "--tile big cannot be used: pass auto, off, or pixels a side such as 1024"),
        ("0", "--tile 0 is too small"),
    ],
)
def test_sizes_that_cannot_be_used(
    tile: str, message: str, tiny_checkpoint: Path, photo: Path
) -> None:
    done = translate(tiny_checkpoint, photo, "--tile", tile)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_model_without_the_graphs_names_the_fix(tiny_model: Path, photo: Path) -> None:
    done = translate(tiny_model, photo, "--tile", "40")
    assert done.exit_code == 2
    fix = "export the model again without --no-stats-graphs"
    assert f"lists no content_encoder_a_stats: {fix}" in done.stderr


def logged(photo: Path) -> list[tuple[object, object]]:
    lines = (photo.parent / "out" / "munit-edge-log.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [(each["tile"], each["tile_stats"]) for each in entries if each["error"] is None]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What --tile auto finds: the last number; it is looked up again by every run."""
    found = [1 << 40]
    monkeypatch.setattr(image_translator, "memory_of", lambda device: found[-1])
    return found


def test_the_choice_is_reported(tiny_checkpoint: Path, photo: Path) -> None:
    """In the log, the summary and --json."""
    done = translate(tiny_checkpoint, photo, "--tile", "40", "--tile-stats", "exact", "--json")
    assert done.exit_code == 0, done.stderr
    assert "; 1 of them in tiles of at most 40 pixels a side (exact)" in done.stderr
    line = json.loads(done.stdout)
    assert (line["tile"], line["tile_stats"]) == (40, "exact")
    done = translate(tiny_checkpoint, photo, "--tile", "off", "--overwrite", "--json")
    assert "of them in tiles" not in done.stderr
    line = json.loads(done.stdout)
    assert (line["tile"], line["tile_stats"]) == (None, None)
    assert logged(photo) == [(40, "exact"), (None, None)]


def test_resuming_with_other_memory_mixes_nothing(
    tiny_checkpoint: Path, photo: Path, memory: list[int]
) -> None:
    """What auto would do otherwise now is made again; the option itself does not count."""
    out = photo.parent / "out" / "p_00.png"
    assert translate(tiny_checkpoint, photo).exit_code == 0
    whole = out.read_bytes()
    again = translate(tiny_checkpoint, photo, "--resume", "--tile", "off")
    assert "1 image skipped, done before" in again.stderr
    memory.append(1 << 20)
    tiled = translate(tiny_checkpoint, photo, "--resume")
    assert "1 image translated" in tiled.stderr
    assert "; 1 of them in tiles of at most " in tiled.stderr
    assert out.read_bytes() != whole
    memory.append((1 << 20) + (1 << 17))  # a little more, in the same step
    skipped = translate(tiny_checkpoint, photo, "--resume", "--json")
    assert "1 image skipped" in skipped.stderr
    assert json.loads(skipped.stdout)["tile"] == logged(photo)[-1][0]
    exact = translate(tiny_checkpoint, photo, "--resume", "--tile-stats", "exact")
    assert "1 image translated" in exact.stderr
    memory.append(1 << 40)
    assert "1 image translated" in translate(tiny_checkpoint, photo, "--resume").stderr
    assert out.read_bytes() == whole


def test_memory_is_looked_up_once_in_a_run(
    tiny_checkpoint: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So images of one size are treated alike."""
    asked: list[str] = []
    monkeypatch.setattr(
        image_translator, "memory_of", lambda device: asked.append(device) or 1 << 40
    )
    (photo.parent / "q.png").write_bytes(photo.read_bytes())
    done = translate(tiny_checkpoint, photo, str(photo.parent / "q.png"))
    assert done.exit_code == 0, done.stderr
    assert asked == ["cpu"]
