"""Exported graphs on every engine of this CPU against what the original programs gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munit_edge.engines.base import GraphSet
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.table import fastest_on_cpu, is_installed
from munit_edge.export.model_directory import export_model
from munit_edge.export.options import ExportOptions
from munit_edge.model.config import Domain
from munit_edge.model.normalisation import bytes_from_floats
from munit_edge.trainer.foreign.convert import convert_checkpoint

CODE_TOLERANCE = 1e-4
LEVEL_TOLERANCE = 1
ENGINES = [engine for engine in fastest_on_cpu("fp32") if is_installed(engine)]


def test_munit(munit_case: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    arrays = munit_case.arrays
    for graphs in exported(request, munit_case, tmp_path, "live"):
        check_codes(graphs, arrays, prefix="")
        check_translations(graphs, arrays, prefix="")


@pytest.mark.parametrize("weights", ["live", "average"])
def test_imaginaire(
    imaginaire_case: Any, weights: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    arrays = imaginaire_case.arrays
    if f"{weights}_c_a" not in arrays:
        pytest.skip(f"this case has no {weights} weights")
    for graphs in exported(request, imaginaire_case, tmp_path, weights):
        check_codes(graphs, arrays, prefix=f"{weights}_")
        check_translations(graphs, arrays, prefix=f"{weights}_")


def exported(
    request: pytest.FixtureRequest, case: Any, folder: Path, weights: str
) -> Iterator[GraphSet]:
    """The case converted and exported, opened in one engine after the other."""
    convert_checkpoint(case.checkpoint, case.config, folder / "checkpoint")
    options = ExportOptions(weights=weights, stats_graphs=False)  # type: ignore[arg-type]
    is_slow = request.node.get_closest_marker("slow") is not None
    if not (is_slow and request.node.callspec.id.startswith("reference")):
        # Fixed sizes trace faster. Dynamic ones are in tests/export, and here among the slow ones.
        batch, _, height, width = case.arrays["x_a"].shape
        options = options.model_copy(update={"batch": batch, "height": height, "width": width})
    export_model(folder / "checkpoint", folder / "model", options)
    for engine in ENGINES:
        with open_graphs(folder / "model", engine, "cpu") as graphs:
            yield graphs


def check_codes(graphs: GraphSet, arrays: dict[str, np.ndarray], prefix: str) -> None:
    domains: tuple[Domain, ...] = ("a", "b")
    for domain in domains:
        image = bytes_from_floats(arrays[f"x_{domain}"])
        content = graphs.runner("content_encoder", domain).run({"image": image})["content"]
        assert_close(content, arrays[f"{prefix}c_{domain}"])
        style = graphs.runner("style_encoder", domain).run({"image": image})["style"]
        assert_close(style, arrays[f"{prefix}s_{domain}_prime"][:, :, 0, 0])


def check_translations(graphs: GraphSet, arrays: dict[str, np.ndarray], prefix: str) -> None:
    cases: dict[str, tuple[Domain, Domain, str]] = {
        "x_ab": ("a", "b", "s_b"),
        "x_ba": ("b", "a", "s_a"),
        "x_ab_guided": ("a", "b", f"{prefix}s_b_prime"),
        "x_ba_guided": ("b", "a", f"{prefix}s_a_prime"),
        "x_a_recon": ("a", "a", f"{prefix}s_a_prime"),
        "x_b_recon": ("b", "b", f"{prefix}s_b_prime"),
    }
    checked = []
    for name, (source, target, style) in cases.items():
        if prefix + name not in arrays:
            continue
        image = bytes_from_floats(arrays[f"x_{source}"])
        content = graphs.runner("content_encoder", source).run({"image": image})["content"]
        feeds = {"content": content, "style": arrays[style][:, :, 0, 0]}
        decoded = graphs.runner("decoder", target).run(feeds)["image"]
        expected = bytes_from_floats(arrays[prefix + name])
        assert decoded.shape == expected.shape
        worst = np.abs(decoded.astype(int) - expected.astype(int)).max()
        assert worst <= LEVEL_TOLERANCE, f"{graphs.engine}, {prefix}{name}: {worst} levels"
        checked.append(name)
    assert {"x_ab", "x_ba"} <= set(checked)


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= CODE_TOLERANCE
