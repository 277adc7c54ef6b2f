"""One measurement of `munit-edge benchmark`, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from munit_edge.errors import MunitEdgeError
from munit_edge.files.names import real_name, storable
from munit_edge.model.config import Direction, split_direction
from munit_edge.settings import StrictModel
from munit_edge.styles.codes import sample_styles
from munit_edge.system import child, nvidia_smi
from munit_edge.system.heap import keep_heap_small
from munit_edge.system.latency import Latency, measure
from munit_edge.system.limits import peak_memory_bytes
from munit_edge.translator import Content, Translator

Part = Literal["content_encoder", "style_encoder", "decoder", "translation"]

INPUTS_FILE = "inputs.npz"
"""`images` of the source domain and `references` of the target domain, uint8 [batch, H, W, C]."""
CONTENT_FILE = "content.npy"
"""Output of the content encoder for the images: the decoder's input."""
MAX_WARMUP = 10
"""Largest number of warm-up calls; they take at most a quarter of the measured time."""


class Measured(StrictModel):
    """The measurement of one process."""

    model_id: str
    """SHA-256 of the model's configuration and weights."""
    first_ms: float
    """Opening the model and the first call in a new process, in milliseconds."""
    latency: Latency
    """Calls after the warm-up, from host memory to host memory."""
    peak_memory_bytes: int
    """Peak resident memory of the process, including Python and the engine's libraries."""
    gpu_memory_bytes: int | None = None
    """Growth of the GPU memory in use; None: on the CPU, or unknown."""


class Request(StrictModel):
    """The task of one process."""

    model: str
    """Model directory or checkpoint."""
    engine: str
    """Backend."""
    device: str
    """"cpu" or "cuda:0"."""
    tf32: bool = False
    """See `Translator.open`."""
    cpu_precision: str | None = None
    """See `Translator.open`."""
    direction: Direction
    """Source and target domain."""
    part: Part
    """The graph, or the whole translation."""
    styles: int
    """Styles for each image."""
    folder: str
    """Contains inputs.npz (`images`, `references`) and files passed between processes."""
    write_to: str = ""
    """Name of the .npy in `folder` for the output; "": the output is not kept."""
    runs: int
    """Largest number of measured calls."""
    seconds: float
    """Time limit for the measured calls, in seconds."""


class Answer(StrictModel):
    """The answer of one process."""

    measured: Measured | None = None
    """None: it failed, or nothing was to be measured."""
    fault: str | None = None
    """Why it failed; None: it did not."""


def measure_here(text: str) -> str:
    """In the child: a `Request` as JSON in, an `Answer` as JSON out."""
    keep_heap_small()  # as `translate` does
    return _answered(lambda request: Answer(measured=_measure(request)), text)


def prepare_here(text: str) -> str:
    """In the child: build the engines that the graphs need; a `Request` in, an `Answer` out."""
    return _answered(_prepare, text)


def _answered(work: Callable[[Request], Answer], text: str) -> str:
    request = Request.model_validate_json(text)
    try:
        answer = work(request)
    except MunitEdgeError as exc:
        answer = Answer(fault=storable(str(exc)))
    except Exception as exc:  # whatever an engine raises is its result
        answer = Answer(fault=child.words(exc))
    return answer.model_dump_json()


def _prepare(request: Request) -> Answer:
    with _open(request) as opened:
        # Together they open all three graphs, which builds their engines.
        parts: tuple[Part, ...] = ("style_encoder", "translation")
        for part in parts:
            _call(opened, request.model_copy(update={"part": part}), Path(request.folder))()
    return Answer()


def _open(request: Request) -> Translator:
    return Translator.open(
        real_name(request.model),
        engine=request.engine,
        device=request.device,
        tf32=request.tf32,
        cpu_precision=request.cpu_precision,
    )


def _measure(request: Request) -> Measured:
    gpu_before = _gpu_memory_used(request.device)
    folder = Path(request.folder)
    started = time.perf_counter()
    with _open(request) as opened:
        call = _call(opened, request, folder)
        output = call()
        first_s = time.perf_counter() - started
        if first_s < request.seconds:
            _warm_up(call, request.seconds / 4)
        latency = measure(call, warmup=0, runs=request.runs, max_s=request.seconds)
        gpu_after = _gpu_memory_used(request.device)
        peak = peak_memory_bytes()
        if request.write_to:
            np.save(folder / request.write_to, output)
        known = gpu_before is not None and gpu_after is not None
        return Measured(
            model_id=opened.model_id,
            first_ms=1000 * first_s,
            latency=latency,
            peak_memory_bytes=peak,
            # Other programs may have freed memory meanwhile.
            gpu_memory_bytes=max(0, (gpu_after or 0) - (gpu_before or 0)) if known else None,
        )


def _warm_up(call: Callable[[], object], seconds: float) -> None:
    ends = time.perf_counter() + seconds
    for _ in range(MAX_WARMUP):
        if time.perf_counter() >= ends:
            return
        call()


def _call(opened: Translator, request: Request, folder: Path) -> Callable[[], NDArray[Any]]:
    """The function to time."""
    source, target = split_direction(request.direction)
    with np.load(folder / INPUTS_FILE, allow_pickle=False) as file:
        images, references = file["images"], file["references"]
    styles = sample_styles(request.styles, opened.config.style_dim)
    if request.part == "content_encoder":
        return lambda: np.asarray(opened.encode_content(images, source).codes)
    if request.part == "style_encoder":
        return lambda: opened.encode_style(references, target)
    if request.part == "decoder":
        codes = np.load(folder / CONTENT_FILE, allow_pickle=False)
        content = Content(codes, (images.shape[1], images.shape[2]))
        return lambda: opened.decode(content, styles, target)
    return lambda: opened.translate(images, request.direction, styles=styles)


def _gpu_memory_used(device: str) -> int | None:
    """Memory in use on a GPU, by all programs, in bytes; None on the CPU and where unknown."""
    if not device.startswith("cuda"):
        return None
    return nvidia_smi.used_memory_bytes(int(device.partition(":")[2] or 0))
