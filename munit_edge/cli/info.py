"""`munit-edge info`: what the graphs of a model cost, without running anything."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from munit_edge.cli.streams import write_json, write_line
from munit_edge.files.names import stored_name
from munit_edge.text import parse_size_hw

if TYPE_CHECKING:
    from munit_edge.model.config import ModelConfig
    from munit_edge.model.cost import Cost

GIGA = 1e9


class _Subject(NamedTuple):
    """The model that the command line names."""

    kind: str
    path: Path
    config: ModelConfig
    facts: dict[str, Any]


def info(
    subject: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG|CHECKPOINT|MODEL]",
            help="Configuration file (of a run, of a model, of NVlabs/MUNIT or of "
            "NVlabs/imaginaire), checkpoint or run folder, or model directory. Or --recipe.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Use a recipe instead.", show_default=False),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Image size to count for, in pixels: a square's side, or HEIGHTxWIDTH.",
        ),
    ] = "256",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count parameters and multiplications of a model's graphs.

    GMAC: billions of multiply-accumulates of convolutions and linear layers for one image. "as
    trained": as the networks are defined. "folded": as `export onnx` writes the decoders, with the
    same result. Nothing is run.
    """
    from munit_edge.model.cost import model_costs

    size_hw = _parse_size(size)
    found = _find(subject, recipe)
    costs = model_costs(found.config, size_hw)
    if as_json:
        write_json(json.dumps(_as_data(found, size_hw, costs)))
        return
    for line in _lines(found, size_hw, costs):
        write_line(line)


def _find(path: Path | None, recipe: str | None) -> _Subject:
    from munit_edge.errors import ConfigError
    from munit_edge.files.paths import is_folder
    from munit_edge.model.manifest import is_model_directory
    from munit_edge.trainer.config_files import find_config

    if path is None and recipe is None:
        raise ConfigError("name a configuration, checkpoint, run or model, or --recipe NAME")
    if path is None or recipe is not None or not is_folder(path):
        return _configuration(find_config(path, recipe))
    return _model(path) if is_model_directory(path) else _checkpoint(path)


def _configuration(file: Path) -> _Subject:
    from munit_edge.trainer.config_files import read_model_config

    return _Subject("configuration", file, read_model_config(file), {})


def _model(directory: Path) -> _Subject:
    from munit_edge.model.manifest import read_manifest, reduced_precision

    manifest = read_manifest(directory)
    facts = {
        "iteration": manifest.checkpoint_iteration,
        "origin": manifest.origin,
        "precision": reduced_precision(manifest),
        "decoders": "folded" if manifest.folded else "as trained",
        "licence_note": manifest.licence_note,
    }
    return _Subject("model", directory, manifest.model, facts)


def _checkpoint(folder: Path) -> _Subject:
    # These import torch where it is installed, which takes seconds.
    from munit_edge.files.paths import is_file
    from munit_edge.trainer.checkpoint import newest_checkpoint, open_checkpoint
    from munit_edge.trainer.run.folder import RunFolder

    file = RunFolder(folder).config_file
    if is_file(file) and newest_checkpoint(folder) is None:  # a run without a checkpoint yet
        return _configuration(file)
    checkpoint = open_checkpoint(folder)
    facts = {
        "iteration": checkpoint.info.iteration,
        "origin": checkpoint.info.origin,
        "licence_note": checkpoint.info.licence_note,
    }
    return _Subject("checkpoint", checkpoint.path, checkpoint.config, facts)


def _parse_size(text: str) -> tuple[int, int]:
    from munit_edge.errors import ConfigError

    size_hw = parse_size_hw(text)
    if size_hw is None or 0 in size_hw:
        raise ConfigError(
            f"--size '{text}' is not a size: name pixels, such as 256 or 480x640 (height x width)"
        )
    return size_hw


def _lines(subject: _Subject, size_hw: tuple[int, int], costs: dict[str, Cost]) -> list[str]:

    config = subject.config
    facts = [f"{key.replace('_', ' ')} {value}" for key, value in subject.facts.items() if value]
    lines = [
        "; ".join([f"{subject.kind} {subject.path}", *facts]),
        f"architecture {config.architecture}, channels {config.channels_a} and "
        f"{config.channels_b}, width {config.width}, content code {config.content_channels} "
        f"channels at 1/{config.size_multiple} of the size, style code {config.style_dim} numbers",
    ]
    padded = config.padded_size(size_hw)
    pixels = _times(size_hw) + ("" if padded == size_hw else f", padded to {_times(padded)}")
    lines += [f"for one image of {pixels} pixels:", ""]
    rows = [("graph", "parameters", "GMAC as trained", "GMAC folded")]
    rows += [_row(name, cost) for name, cost in costs.items()]
    rows += [_row(f"translation {d}", cost) for d, cost in _translations(costs).items()]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for name, *numbers in rows:
        cells = [f"{n:>{w}}" for n, w in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *cells]))
    return lines


def _row(name: str, cost: Cost) -> tuple[str, str, str, str]:
    macs = (f"{number / GIGA:.4f}" for number in (cost.macs, cost.folded_macs))
    return (name, f"{cost.parameters:,}", *macs)  # type: ignore[return-value]


def _times(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[0]} x {size_hw[1]}"


def _translations(costs: dict[str, Cost]) -> dict[str, Cost]:
    """Cost of encoding an image's content and decoding it in one given style."""
    from munit_edge.model.config import DIRECTIONS, split_direction

    sides = {direction: split_direction(direction) for direction in DIRECTIONS}
    return {
        direction: costs[f"content_encoder_{source}"] + costs[f"decoder_{target}"]
        for direction, (source, target) in sides.items()
    }


def _as_data(subject: _Subject, size_hw: tuple[int, int], costs: dict[str, Cost]) -> dict[str, Any]:
    return {
        "kind": subject.kind,
        "path": stored_name(subject.path),
        **subject.facts,
        "model": subject.config.model_dump(mode="json"),
        "size_hw": list(size_hw),
        "graphs": {name: asdict(cost) for name, cost in costs.items()},
        "translations": {name: asdict(cost) for name, cost in _translations(costs).items()},
    }
