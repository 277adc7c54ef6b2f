"""One trial of the self-test, in a process of its own: `munit_edge.doctor.selftest` starts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from munit_edge.doctor.selftest import (
    CHECKPOINT_FOLDER,
    Check,
    Request,
    Result,
    Trial,
    graphs_folder,
)
from munit_edge.engines.base import GraphSet
from munit_edge.engines.factory import open_graphs
from munit_edge.engines.table import ENGINE_FACTS
from munit_edge.errors import ModelError, UnsupportedGraphError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.unfinished import scratch_folder
from munit_edge.model.config import DOMAINS, Direction, split_direction
from munit_edge.model.manifest import read_manifest
from munit_edge.model.precision import PRECISION_FACTS, Precision
from munit_edge.system import child
from munit_edge.system.latency import measure
from munit_edge.translator import Translator

Arrays = dict[str, NDArray[Any]]

_ALL_DIRECTIONS: tuple[Direction, ...] = ("a2b", "b2a")
_REDUCED_DIRECTIONS: tuple[Direction, ...] = ("a2b",)
BUILT_FOR = "8.9"
"""Compute capability for the engines that TensorRT-RTX builds and does not run: it has fp8."""


def tolerance(precision: Precision, device: str, expected: NDArray[Any]) -> float:
    """How far an output may be from the expected one.

    Args:
        precision: of the graphs.
        device: where they run, such as "cpu" or "cuda:0".
        expected: the output, uint8 if it is an image.
    """
    facts = PRECISION_FACTS[precision]
    allowed = facts.on_cpu if device == "cpu" else facts.on_gpu
    if expected.dtype == np.uint8:
        return allowed.levels
    return allowed.of_code(float(np.abs(expected).max()))


def run_trial_here(request: str) -> str:
    """In the child: a `Request` as JSON in, the `Result` as JSON out."""
    asked = Request.model_validate_json(request)
    return _try(asked.trial, Path(asked.folder)).model_dump_json()


def directions(precision: Precision) -> tuple[Direction, ...]:
    """The directions of the shipped graphs: only one in reduced precision, for a small wheel."""
    return _ALL_DIRECTIONS if precision == "fp32" else _REDUCED_DIRECTIONS


def compute(
    graphs: GraphSet, given: Mapping[str, NDArray[Any]], precision: Precision = "fp32"
) -> Arrays:
    """Outputs of every graph and translation of `directions(precision)`, by name.

    Args:
        graphs: of the tiny model.
        given: `image_a`, `image_b`: uint8 [1, H, W, 3]; `style`: float32 [1, style_dim].
        precision: of the graphs.
    """
    return {name: call() for name, call in _calls(graphs, given, precision)}


def read_expected(folder: Path, precision: Precision = "fp32") -> Arrays:
    """The inputs, and the expected outputs of the graphs in a precision, by name.

    Raises:
        ModelError: a file is missing or damaged.
    """
    files = ["expected.npz"]
    if PRECISION_FACTS[precision].expected_exactly:
        files.append(expected_file(precision))
    found: Arrays = {}
    for name in files:
        try:
            with np.load(folder / name, allow_pickle=False) as file:
                found |= dict(file)
        except (OSError, ValueError) as exc:
            raise ModelError(f"{folder / name} cannot be read: install munit-edge again") from exc
    return found


def expected_file(precision: Precision) -> str:
    """Name of the file of expected outputs of one precision."""
    own = PRECISION_FACTS[precision].expected_exactly
    return f"expected_{precision}.npz" if own else "expected.npz"


def write_images(given: Mapping[str, NDArray[Any]], folder: Path) -> tuple[Path, ...]:
    """The shipped images as files, one folder for each domain, for the export's quality gate."""
    for domain in DOMAINS:
        with atomic_file(folder / domain / "image.png") as path:
            Image.fromarray(given[f"image_{domain}"][0]).save(path)
    return tuple(folder / domain for domain in DOMAINS)


def _try(trial: Trial, folder: Path) -> Result:
    try:
        if trial.task == "build":
            return _build(trial, folder / graphs_folder(trial.precision))
        with scratch_folder() as scratch:
            model = _model(trial, folder, scratch)
            with open_graphs(model, trial.engine, trial.device) as graphs:
                checks = tuple(_checks(graphs, trial, folder))
    except UnsupportedGraphError as exc:
        return Result(name=trial.name, status="not tested", detail=str(exc))
    except Exception as exc:  # whatever an engine raises is its result
        return Result(name=trial.name, status="failed", detail=child.words(exc))
    faults = [
        f"{check.name} differs by {'?' if check.worst is None else f'{check.worst:.3g}'} "
        f"(tolerance {check.tolerance:.3g})"
        for check in checks
        if not check.passed
    ]
    if faults:
        return Result(name=trial.name, status="failed", detail="; ".join(faults), checks=checks)
    return Result(name=trial.name, status="ok", detail=_summary(checks), checks=checks)


def _build(trial: Trial, model: Path) -> Result:
    """Build an engine of every graph with our own builder; without a GPU none is run."""
    from munit_edge.engines.tensorrt.builder import BuildOptions
    from munit_edge.engines.tensorrt.cache import BuildRequest, find_or_build

    manifest = read_manifest(model)
    options = BuildOptions(target="tensorrt-rtx", compute_capabilities=(BUILT_FOR,))
    plans = [
        find_or_build(model, manifest, entry, BuildRequest(options=options))
        for entry in manifest.graphs
    ]
    seconds = sum(plan.sidecar.build_seconds for plan in plans)
    detail = (
        f"{len(plans)} engines built in {seconds:.1f} s for compute capability {BUILT_FOR}; none "
        "was run"
    )
    return Result(name=trial.name, status="ok", detail=detail)


def _model(trial: Trial, folder: Path, scratch: Path) -> Path:
    """The model that the trial opens; an export is made first."""
    if trial.task == "export":
        from munit_edge.export.model_directory import export_model
        from munit_edge.export.options import ExportOptions

        options = ExportOptions(stats_graphs=False)
        if trial.precision != "fp32":
            images = write_images(read_expected(folder), scratch)
            options = ExportOptions(
                precision=trial.precision, calibration=images, stats_graphs=False
            )
        export_model(folder / CHECKPOINT_FOLDER, scratch / "model", options)
        return scratch / "model"
    return folder / (
        CHECKPOINT_FOLDER
        if ENGINE_FACTS[trial.engine].checkpoints
        else graphs_folder(trial.precision)
    )


def _checks(graphs: GraphSet, trial: Trial, folder: Path) -> Iterator[Check]:
    expected = read_expected(folder, trial.precision)
    for name, call in _calls(graphs, expected, trial.precision):
        yield Check(
            name=name,
            worst=largest_difference(call(), expected[name]),
            tolerance=tolerance(trial.precision, graphs.device, expected[name]),
            latency=measure(call, max_s=0.5),
        )


def largest_difference(got: NDArray[Any], wanted: NDArray[Any]) -> float | None:
    """Of two arrays; None if their shapes differ or a number is not finite."""
    if got.shape != wanted.shape:
        return None
    worst = float(np.abs(got.astype(np.float64) - wanted.astype(np.float64)).max())
    return worst if np.isfinite(worst) else None


def _calls(
    graphs: GraphSet, given: Mapping[str, NDArray[Any]], precision: Precision
) -> Iterator[tuple[str, Callable[[], NDArray[Any]]]]:
    """Every output by name, and the call that computes it from `image_a`, `image_b` and `style`."""
    translator = Translator(graphs)
    for direction in directions(precision):
        source, target = split_direction(direction)
        image, reference = given[f"image_{source}"], given[f"image_{target}"]
        content = translator.encode_content(image, source)
        encoded = translator.encode_style(reference, target)
        yield f"content_encoder_{source}", _bind(_codes, translator, image, source)
        yield f"style_encoder_{target}", _bind(translator.encode_style, reference, target)
        yield f"decoder_{target}", _bind(translator.decode, content, encoded, target)
        yield direction, _bind(translator.translate, image, direction, styles=given["style"])


def _codes(translator: Translator, image: NDArray[Any], domain: Any) -> NDArray[Any]:
    return np.asarray(translator.encode_content(image, domain).codes)


def _bind(
    function: Callable[..., NDArray[Any]], *arguments: Any, **options: Any
) -> Callable[[], NDArray[Any]]:
    # A lambda in the loop would see the variables of its last turn.
    return lambda: function(*arguments, **options)


def _summary(checks: tuple[Check, ...]) -> str:
    translations = [check for check in checks if check.name in ("a2b", "b2a")]
    levels = max(check.worst or 0.0 for check in translations)
    mean_ms = sum(check.latency.p50_ms for check in translations) / len(translations)
    return (
        f"{len(checks)} outputs as expected; a translation differs by at most {levels:.2g} of 255 "
        f"levels and takes {mean_ms:.2f} ms"
    )
