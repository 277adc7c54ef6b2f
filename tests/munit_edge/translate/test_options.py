"""Options of a translation: what goes together and what does not."""

from pathlib import Path
from typing import Any

import pytest

from munit_edge.errors import ConfigError
from munit_edge.settings import validate_options
from munit_edge.translate.options import TranslateOptions

FILES = {"inputs": ["x.png"], "output": "out", "direction": "a2b"}
STREAM = {"inputs": ["-"], "direction": "a2b"}


def options(base: dict[str, Any], **changes: Any) -> TranslateOptions:
    return validate_options(TranslateOptions, {**base, **changes})


def num_styles(base: dict[str, Any], **changes: Any) -> int:
    checked = options(base, **changes)
    return checked.style.least_styles(checked.default_styles)


def test_number_of_random_styles() -> None:
    assert num_styles(FILES) == 4
    assert num_styles(FILES, styles=7) == 7
    assert num_styles(STREAM) == 1
    assert num_styles(STREAM, grid=True) == 4
    assert num_styles(STREAM, styles=7, grid=True) == 7


def test_folders_skip_and_files_stop_unless_set_otherwise(tmp_path: Path) -> None:
    assert not options(FILES).skips_unreadable
    assert options(FILES, inputs=["x.png", tmp_path]).skips_unreadable
    assert options(FILES, on_error="skip").skips_unreadable
    assert not options(FILES, inputs=[tmp_path], on_error="stop").skips_unreadable


@pytest.mark.parametrize(
    "changes",
    [
        {"style_images": ["r.png"]},
        {"saved_styles": ["s.json"]},
        {"style_images": ["r.png", "q.png"], "saved_styles": ["s.json", "red"]},
        {"interpolate": ["red", "7"], "frames": 2},
    ],
)
def test_styles_from_images_and_files_go_together(changes: dict[str, Any]) -> None:
    assert options(FILES, **changes).style.guided
    assert options(STREAM, **changes).style.guided


@pytest.mark.parametrize(
    ("base", "changes", "fault"),
    [
        (FILES, {"style_images": ["r.png"], "styles": 2}, "--styles is for random styles"),
        (FILES, {"saved_styles": ["s.json"], "seed": 0}, "--seed is for random styles"),
        (FILES, {"interpolate": ["x", "y"], "spread": 3}, "--spread is for random styles"),
        (FILES, {"styles": 2, "spread": 3}, "--styles and --spread both set the number of styles"),
        (FILES, {"interpolate": ["x", "y"], "saved_styles": ["z"]}, "names its two styles itself"),
        (FILES, {"frames": 3}, "--frames is for --interpolate"),
        (FILES, {"interpolate": ["x", "y"], "frames": 1}, "--frames 1: it should be "),
        (FILES, {"spread": 0}, "--spread 0: it should be "),
        (
            FILES,
            {"style_images": ["r"], "styles": 1, "seed": 1},
            "--styles and --seed is for random styles",
        ),
        (FILES, {"output": None}, "-o is missing: name a folder"),
        (FILES, {"inputs": ["x.png", "-"]}, "name no other input"),
        (FILES, {"inputs": ["-", "-"]}, "name no other input"),
        (FILES, {"inputs": []}, "--inputs"),
        (STREAM, {"output": "out"}, "goes to standard output: leave out -o"),
        (STREAM, {"json_lines": True, "recursive": True}, "leave out --json and --recursive"),
        (STREAM, {"overwrite": True}, "leave out --overwrite"),
        (STREAM, {"on_error": "skip"}, "leave out --on-error"),
        (FILES, {"styles": 0}, "--styles 0: it should be "),
        (FILES, {"seed": -1}, "--seed -1: it should be "),
        (FILES, {"size": 0}, "--size 0: it should be "),
        (FILES, {"max_megapixels": 0}, "--max-megapixels 0: it should be "),
        (FILES, {"direction": "b2c"}, "--direction b2c: it should be "),
        (FILES, {"format": "gif"}, "--format gif: it should be "),
    ],
)
def test_contradictions_are_refused(
    base: dict[str, Any], changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        options(base, **changes)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)
