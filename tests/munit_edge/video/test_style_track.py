"""Styles that move along key frames."""

import numpy as np
import pytest

from munit_edge.errors import ConfigError
from munit_edge.styles.codes import interpolate_styles
from munit_edge.styles.files import NamedStyle, sampled_style
from munit_edge.video.style_track import FixedStyles, MovingStyle, StyleKey, parse_keys


def find(style: str) -> NamedStyle:
    return sampled_style(style, 8, int(style))


def test_keys_are_read() -> None:
    assert parse_keys("0:calm, 4.5:styles/storm.json") == (
        StyleKey(0, "calm"),
        StyleKey(4.5, "styles/storm.json"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:calm", "two keys or more"),
        ("0:calm,0:storm", "whose seconds rise"),
        ("1:calm,nan:storm", "whose seconds rise"),
        ("0:calm,storm", "has 'storm'"),
        ("0:calm,2:", "has '2:'"),
        ("", "has ''"),
    ],
)
def test_keys_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_keys(text)


def test_the_style_moves_as_interpolation_does() -> None:
    track = MovingStyle(parse_keys("1:3,2:4,4:5"), find)
    code = {number: np.array(find(number).code, np.float32) for number in ("3", "4", "5")}
    path = interpolate_styles(code["3"], code["4"], 5)
    for index in range(5):
        np.testing.assert_allclose(track.at(1 + index / 4)[0], path[index], rtol=1e-6)
    np.testing.assert_allclose(
        track.at(3)[0], interpolate_styles(code["4"], code["5"], 3)[1], rtol=1e-6
    )
    for seconds, number in ((0.0, "3"), (1.0, "3"), (2.0, "4"), (4.0, "5"), (99.0, "5")):
        np.testing.assert_allclose(track.at(seconds), code[number][None], rtol=1e-6)


def test_between_codes_of_unknown_origin_the_path_is_straight() -> None:
    codes = {"a": (2.0, 0.0), "b": (0.0, 2.0)}
    track = MovingStyle(parse_keys("0:a,2:b"), lambda name: NamedStyle(name=name, code=codes[name]))
    np.testing.assert_allclose(track.at(1), [[1, 1]])


def test_fixed_styles_stay() -> None:
    codes = np.ones((3, 8), np.float32)
    assert FixedStyles(codes).at(7.5) is codes
    assert FixedStyles(codes).num_styles == 3
