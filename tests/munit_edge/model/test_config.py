from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from munit_edge.errors import ConfigError
from munit_edge.files.names import real_name
from munit_edge.model import layers
from munit_edge.model.config import ModelConfig, split_direction
from munit_edge.settings import StrictModel, validate


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"widht": 8}, "unknown key 'widht': did you mean 'width'"),
        ({"discriminator": {"num_layer": 3}}, r"'discriminator\.num_layer': did you mean 'num_l"),
        ({"qqqqqq": 1}, "unknown key 'qqqqqq': allowed: activation, architecture"),
        ({"channels_a": 2}, "'channels_a' is 2: .*1, 3 or 4"),
        ({"padding": "circular"}, "'padding' is 'circular'"),
        ({"width": 0}, "'width' is 0"),
        ({"pre_activation": True}, "set it to false"),
        ({"discriminator": {"kind": "global-residual"}}, "takes norm 'none' and padding 'zero'"),
        (
            {"discriminator": {"kind": "global-residual", "padding": "zero"}},
            "set num_scales to 1, got 3",
        ),
        (
            {"max_width": 7, "num_downsamples": 3},
            r"max_width must be at least 2\*\*num_downsamples, 8 .* halves .* 3 times\), got 7",
        ),
        ([1], "expected keys and values, got list"),
    ],
)
def test_faults_are_named(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(ModelConfig, data, "model.yaml")


def test_all_faults_come_in_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(ModelConfig, {"width": "x", "depth": 1, "style_dim": -1}, "model.yaml")
    assert str(caught.value).startswith("model.yaml: ")
    assert all(f"'{name}'" in str(caught.value) for name in ("width", "depth", "style_dim"))


def test_sizes() -> None:
    config = ModelConfig(num_downsamples=3, width=10, max_width=50)
    assert (config.size_multiple, config.content_min_size, config.style_min_size) == (8, 16, 16)
    assert config.content_channels == 50


def test_the_narrowest_decoder_has_a_channel_in_every_layer() -> None:
    for config in (
        ModelConfig(max_width=8, num_downsamples=3),
        ModelConfig(width=1, num_downsamples=3),
    ):
        assert min(layer.outputs for layer in layers.decoder(config, 3)) == 1


def test_direction() -> None:
    assert split_direction("b2a") == ("b", "a")
    with pytest.raises(ConfigError, match="use 'a2b' or 'b2a'"):
        split_direction("ab")


def test_json_of_names_that_are_not_utf8() -> None:
    class Report(StrictModel):
        file: str
        others: tuple[Path, ...] = ()

    name = os.fsdecode(b"gr\xfcn\n.png")
    report = Report(file=name, others=(Path(name), Path("plain.png")))
    for indent in (None, 2):
        data = json.loads(report.model_dump_json(indent=indent))
        assert data["others"] == ["gr\\xfcn\n.png", "plain.png"]
        assert real_name(data["file"]) == name
    plain = Report(file="x\\x.png")
    assert plain.model_dump_json() == '{"file":"x\\\\x.png","others":[]}'
