"""What `tools/gpu_check.py` runs in processes of their own: making a model, one engine on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from evidence import Row
from numpy.typing import NDArray

from munit_edge.doctor import selftest_child
from munit_edge.doctor.selftest_child import largest_difference, write_images
from munit_edge.engines.base import GraphSet
from munit_edge.engines.factory import open_graphs
from munit_edge.model.config import ModelConfig
from munit_edge.model.manifest import read_manifest
from munit_edge.model.precision import Precision
from munit_edge.settings import StrictModel
from munit_edge.styles.codes import sample_styles
from munit_edge.system import child
from munit_edge.system.latency import measure
from munit_edge.system.machine import gpu_clock_mhz
from munit_edge.translator import Translator

SEED = 0
WARMUP = 10
MAX_S = 10.0
"""Longest time for the timed calls of one graph, in seconds."""
CALIBRATION_SIZE = 64
"""Height and width of the images by which an export in reduced precision is judged."""

Arrays = Mapping[str, NDArray[Any]]


class Making(StrictModel):
    """The task of a process that makes the model, or one export of it."""

    checkpoint: str
    """Where it is, or is written."""
    width: int
    """Of the model."""
    model: str = ""
    """Model directory to write; "": the checkpoint is made."""
    precision: Precision = "fp32"
    """Of the export."""
    images: str = ""
    """Folder for the images that judge the export."""


class Request(StrictModel):
    """The task of a process that runs one engine."""

    engine: str
    """One of munit-edge's engines."""
    device: str
    """"cpu" or "cuda:0"."""
    tf32: bool = False
    """Whether torch may use TF32, which is its own default on a GPU."""
    model: str
    """Model directory; for torch the checkpoint."""
    inputs: str
    """.npz with `image_a`, `image_b` and `style`."""
    outputs: str = ""
    """.npz with the outputs to compare with; "": write them to `write_to`."""
    reference: str = ""
    """Where `outputs` come from, in words."""
    write_to: str = ""
    """.npz to write."""
    runs: int = 1
    """Timed calls."""
    card: str = ""
    """Name of the GPU, to ask for its clock."""


class Rows(StrictModel):
    """The answer of one process."""

    rows: tuple[Row, ...] = ()
    """Every graph."""
    fault: str = ""
    """Why it failed; "" if it did not."""


def make_here(text: str) -> str:
    """In the child: the checkpoint or an export; returns why it failed, "" if it did not."""
    try:
        _make(Making.model_validate_json(text))
    except Exception as exc:  # whatever the exporter raises is its result
        return child.words(exc)
    return ""


def run_here(text: str) -> str:
    """In the child: one engine; a `Request` as JSON in, `Rows` as JSON out."""
    request = Request.model_validate_json(text)
    try:
        return Rows(rows=tuple(_run(request))).model_dump_json()
    except Exception as exc:  # whatever an engine raises is its result
        return Rows(fault=child.words(exc)).model_dump_json()


def write_inputs(path: Path, config: ModelConfig, size: int, batch: int) -> None:
    """Smooth images, like photos, and one style for each."""
    np.savez(path, allow_pickle=False, **_inputs(config, size, batch))


def tolerance(wanted: NDArray[Any], device: str, precision: str) -> float | None:
    """Largest difference that passes; None: not judged."""
    if precision not in ("fp32", "tf32"):
        return None  # the export's own quality gate judges what the precision costs
    return selftest_child.tolerance("fp32", device, wanted)


def _inputs(config: ModelConfig, size: int, batch: int) -> dict[str, NDArray[Any]]:
    generator = np.random.Generator(np.random.PCG64(SEED))
    arrays: dict[str, NDArray[Any]] = {"style": sample_styles(batch, config.style_dim)}
    for domain in ("a", "b"):
        shape = (batch, -(-size // 8), -(-size // 8), config.channels(domain))
        coarse = generator.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"image_{domain}"] = coarse.repeat(8, 1).repeat(8, 2)[:, :size, :size]
    return arrays


def _make(making: Making) -> None:
    from munit_edge.extras import require

    require("torch", "making a model to check (or name yours with --model)", extra="export")
    config = ModelConfig(width=making.width)
    if not making.model:
        from munit_edge.trainer.checkpoint import CheckpointInfo, build_generators, save_checkpoint
        from munit_edge.trainer.torch_api import torch

        torch.manual_seed(SEED)
        generators = build_generators(config)
        save_checkpoint(Path(making.checkpoint), config, CheckpointInfo(), generators=generators)
        return
    from munit_edge.export.model_directory import export_model
    from munit_edge.export.options import ExportOptions

    images: tuple[Path, ...] = ()
    if making.precision != "fp32":
        images = write_images(_inputs(config, CALIBRATION_SIZE, 1), Path(making.images))
    options = ExportOptions(precision=making.precision, calibration=images, stats_graphs=False)
    export_model(Path(making.checkpoint), Path(making.model), options)


def _run(request: Request) -> Iterator[Row]:
    with open_graphs(
        Path(request.model), request.engine, request.device, tf32=request.tf32
    ) as graphs:
        given = _read(request.inputs)
        calls = dict(_calls(graphs, given, _read(request.outputs) if request.outputs else {}))
        if request.write_to:
            np.savez(request.write_to, allow_pickle=False, **{n: c() for n, c in calls.items()})
            return
        expected = _read(request.outputs)
        precisions = _precisions(request)
        for name, call in calls.items():
            precision = precisions.get(name, precisions["decoder_b"])
            worst = largest_difference(call(), expected[name])
            latency = measure(call, warmup=WARMUP, runs=request.runs, max_s=MAX_S)
            yield Row(
                engine=request.engine,
                precision=precision,
                graph=name,
                reference=request.reference,
                worst=worst,
                tolerance=tolerance(expected[name], request.device, precision),
                latency=latency,
                clock_mhz=_clock_under(call, request.card) if request.card else None,
            )


def _calls(
    graphs: GraphSet, given: Arrays, expected: Arrays
) -> Iterator[tuple[str, Callable[[], NDArray[Any]]]]:
    """The call for each output; the decoder gets the CPU's content: errors must not add up."""
    translator = Translator(graphs)
    image, reference, style = given["image_a"], given["image_b"], given["style"]
    content = translator.encode_content(image, "a")
    if expected:
        codes = expected["content_encoder_a"].astype(np.asarray(content.codes).dtype)
        content = type(content)(codes, content.size_hw)
    yield "content_encoder_a", lambda: np.asarray(translator.encode_content(image, "a").codes)
    yield "style_encoder_b", lambda: translator.encode_style(reference, "b")
    yield "decoder_b", lambda: translator.decode(content, style[:1], "b")
    yield "a2b", lambda: translator.translate(image, "a2b", styles=style[:1])


def _read(path: str) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _precisions(request: Request) -> dict[str, str]:
    if request.engine == "torch":
        return {"decoder_b": "tf32" if request.tf32 else "fp32"}
    entries = read_manifest(Path(request.model)).graphs
    return {entry.name: entry.precision for entry in entries}


def _clock_under(call: Callable[[], object], card: str) -> int | None:
    """The clock while `call` keeps the GPU busy: an idle one clocks down at once."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gpu_clock_mhz, card)
        while not asked.done():
            call()
        clock = asked.result()
    return clock[0] if clock else None
