"""One measurement of `munit-edge benchmark`, in the process that was started for it."""

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
"""`pictures` of the source domain and `references` of the target, uint8 [batch, H, W, C]."""
CONTENT_FILE = "content.npy"
"""What the content encoder made of the pictures: the decoder's input."""
MAX_WARMUP = 10
"""Calls before the first that counts, at most; they take a quarter of the counted time."""


class Measured(StrictModel):
    """What one process measured."""

    model_id: str
    """SHA-256 of the model's configuration and weights."""
    first_ms: float
    """The first call of a new process, with opening the model, in milliseconds."""
    latency: Latency
    """Calls after the warm-up, from host memory to host memory."""
    peak_memory_bytes: int
    """Most memory that the process held (resident), with Python and the engine's libraries."""
    gpu_memory_bytes: int | None = None
    """By how much the GPU's memory in use grew; None: on the CPU, or it does not tell."""


class Request(StrictModel):
    """What one process is asked for."""

    model: str
    """Model directory or checkpoint."""
    engine: str
    """Backend."""
    device: str
    """"cpu" or "cuda:0"."""
    tf32: bool = False
    """See `Translator.open`."""
    direction: Direction
    """From which domain to which."""
    part: Part
    """Which graph, or the whole translation."""
    styles: int
    """Styles for each picture."""
    folder: str
    """Holds inputs.npz (`pictures`, `references`) and what is handed from process to process."""
    write_to: str = ""
    """Name of the .npy in `folder` for the output; "": it is not kept."""
    runs: int
    """Counted calls, at most."""
    seconds: float
    """Counted calls stop after so many seconds."""


class Answer(StrictModel):
    """What one process answers."""

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
        parts: tuple[Part, ...] = ("style_encoder", "translation")
        for part in parts:
            _call(opened, request.model_copy(update={"part": part}), Path(request.folder))()
    return Answer()


def _open(request: Request) -> Translator:
    return Translator.open(
        real_name(request.model), engine=request.engine, device=request.device, tf32=request.tf32
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
            gpu_memory_bytes=max(0, (gpu_after or 0) - (gpu_before or 0)) if known else None,
        )


def _warm_up(call: Callable[[], object], seconds: float) -> None:
    ends = time.perf_counter() + seconds
    for _ in range(MAX_WARMUP):
        if time.perf_counter() >= ends:
            return
        call()


def _call(opened: Translator, request: Request, folder: Path) -> Callable[[], NDArray[Any]]:
    """What is timed."""
    source, target = split_direction(request.direction)
    with np.load(folder / INPUTS_FILE, allow_pickle=False) as file:
        pictures, references = file["pictures"], file["references"]
    styles = sample_styles(request.styles, opened.config.style_dim)
    if request.part == "content_encoder":
        return lambda: np.asarray(opened.encode_content(pictures, source).codes)
    if request.part == "style_encoder":
        return lambda: opened.encode_style(references, target)
    if request.part == "decoder":
        codes = np.load(folder / CONTENT_FILE, allow_pickle=False)
        content = Content(codes, (pictures.shape[1], pictures.shape[2]))
        return lambda: opened.decode(content, styles, target)
    return lambda: opened.translate(pictures, request.direction, styles=styles)


def _gpu_memory_used(device: str) -> int | None:
    """Memory in use on a GPU, by all programs, in bytes; None on the CPU and where unknown."""
    if not device.startswith("cuda"):
        return None
    return nvidia_smi.used_memory_bytes(int(device.partition(":")[2] or 0))
