from __future__ import annotations

from pathlib import Path

import pytest

from munit_edge.engines.tensorrt.profiles import declare_profiles, graph_profiles
from munit_edge.errors import ConfigError
from munit_edge.model.config import ModelConfig
from munit_edge.model.manifest import GraphEntry, Manifest, graph_tensors, read_manifest, size_rules


def _manifest(
    *, batch: int | None = None, size_hw: tuple[int | None, int | None] = (None, None)
) -> Manifest:
    config = ModelConfig(width=8, num_res_blocks=1)  # multiples of 4 from 16 on

    def entry(kind: str, domain: str) -> GraphEntry:
        inputs, outputs = graph_tensors(
            config,
            kind,  # type: ignore[arg-type]
            domain,  # type: ignore[arg-type]
            "uint8",
            batch=batch,
            size_hw=size_hw,
        )
        return GraphEntry.model_validate(
            {
                "kind": kind,
                "domain": domain,
                "file": f"{kind}_{domain}.onnx",
                "sha256": "0" * 64,
                "opset": 18,
                "inputs": inputs,
                "outputs": outputs,
            }
        )

    graphs = [
        entry(kind, domain)
        for kind in ("content_encoder", "style_encoder", "decoder")
        for domain in "ab"
    ]
    return Manifest(
        model=config,
        io="uint8",
        sizes=size_rules(config),
        graphs=tuple(graphs),
        parity=(),
        weights="live",
        checkpoint_sha256="0" * 64,
        checkpoint_iteration=1,
        origin="a test",
        versions={},
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, ["1 x 16 x 16 to 4 x 512 x 512, best at 1 x 256 x 256"]),
        ({"sizes": "256, 512x384"}, ["1 x 256 x 256 to 4 x 256 x 256", "1 x 512 x 384 to"]),
        ({"sizes": "256,256x256", "batch": "2"}, ["2 x 256 x 256"]),
        ({"smallest": "320"}, ["1 x 320 x 320 to 4 x 512 x 512, best at 1 x 320 x 320"]),
        ({"largest": "128x64"}, ["1 x 16 x 16 to 4 x 128 x 64, best at 1 x 128 x 64"]),
        ({"optimum": "1024"}, ["1 x 16 x 16 to 4 x 1024 x 1024, best at 1 x 1024 x 1024"]),
        (
            {"smallest": "64x96", "optimum": "128X96", "largest": "256", "batch": "1, 2,8"},
            ["1 x 64 x 96 to 8 x 256 x 256, best at 2 x 128 x 96"],
        ),
    ],
)
def test_words_become_profiles(words: dict[str, str], expected: list[str]) -> None:
    profiles = declare_profiles(_manifest(), **words)
    assert len(profiles) == len(expected)
    for profile, text in zip(profiles, expected, strict=True):
        assert str(profile).startswith(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"sizes": "256", "largest": "512"}, "leave out --min, --opt and --max, or --sizes"),
        ({"sizes": "250"}, r"--sizes 250 .* multiples of 4 pixels, at least 16; .* 248x248"),
        ({"sizes": "8"}, r"--sizes 8 .* at least 16; the nearest is 16x16"),
        ({"sizes": "256x"}, "'256x' is not a size: .* 256x384"),
        ({"sizes": "256,,"}, "'' is not a size"),
        ({"sizes": "-4"}, "'-4' is not a size"),
        ({"optimum": "64x67"}, r"--opt 64x67 .* the nearest is 64x68"),
        ({"smallest": "512", "optimum": "256"}, "--min 512x512 is larger than --opt 256x256"),
        ({"smallest": "64x128", "largest": "128x64"}, "--min 64x128 is larger than --max 128x64"),
        ({"optimum": "512", "largest": "256"}, "--opt 512x512 is larger than --max 256x256"),
        ({"batch": "4,1"}, r"'4,1' cannot be used: .* smallest, best and largest 1,2,4"),
        ({"batch": "1,8,4"}, "'1,8,4' cannot be used"),
        ({"batch": "1,2,3,4"}, "'1,2,3,4' cannot be used"),
        ({"batch": "1,"}, "'1,' cannot be used"),
        ({"batch": "0"}, "'0' cannot be used"),
        ({"batch": "many"}, "'many' cannot be used"),
    ],
)
def test_bad_words_are_refused(words: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        declare_profiles(_manifest(), **words)


def test_each_graph_gets_its_shapes() -> None:
    manifest = _manifest()
    profiles = declare_profiles(manifest, smallest="32x64", largest="128", batch="1,2")
    (encoder,) = graph_profiles(manifest, manifest.graph("content_encoder", "a"), profiles)
    assert encoder["image"].min == (1, 32, 64, 3)
    assert encoder["image"].max == (2, 128, 128, 3)
    (decoder,) = graph_profiles(manifest, manifest.graph("decoder", "b"), profiles)
    assert decoder["content"].min == (1, 32, 8, 16)
    assert decoder["content"].opt == (1, 32, 32, 32)
    assert decoder["content"].max == (2, 32, 32, 32)
    assert decoder["style"].min == (1, 8)
    assert (decoder["style"].opt, decoder["style"].max) == ((1, 8), (2, 8))


def test_shapes_follow_the_model_of_the_other_architecture(tiny_sn_model: Path) -> None:
    manifest = read_manifest(tiny_sn_model)
    profiles = declare_profiles(manifest, sizes="64", batch="3")
    (encoder,) = graph_profiles(manifest, manifest.graph("content_encoder", "a"), profiles)
    assert encoder["image"].opt == (3, 64, 64, 1)
    (decoder,) = graph_profiles(manifest, manifest.graph("decoder", "b"), profiles)
    config = manifest.model
    assert decoder["content"].opt == (3, config.content_channels, 32, 32)
    assert decoder["style"].opt == (3, 5)


def test_a_fixed_export_needs_no_words_and_takes_no_others() -> None:
    manifest = _manifest(batch=2, size_hw=(64, 96))
    (profile,) = declare_profiles(manifest)
    assert str(profile) == "2 x 64 x 96"
    entry = manifest.graph("content_encoder", "a")
    assert graph_profiles(manifest, entry, (profile,)) == ()
    other = declare_profiles(manifest, sizes="128", batch="2")
    with pytest.raises(ConfigError, match=r"was exported with 'image' of shape \[2, 64, 96, 3\]"):
        graph_profiles(manifest, entry, other)


def test_what_an_export_left_free_is_ranged() -> None:
    manifest = _manifest(batch=1)
    (profile,) = declare_profiles(manifest)
    assert (profile.min.batch, profile.max.batch) == (1, 1)
    assert profile.max.height == 512
    entry = manifest.graph("decoder", "b")
    assert len(graph_profiles(manifest, entry, (profile,))) == 1
    with pytest.raises(ConfigError, match="decoder_b was exported with"):
        graph_profiles(manifest, entry, declare_profiles(manifest, batch="1,4"))
