"""The manifest: the description of a model directory.

model/
munit_edge.json          this manifest
content_encoder_a.onnx   ... three graphs for each domain, and `*_stats` twins of two
decoder_a.weights        ... large tensors, of a graph and its twin
styles/*.json            saved style codes (optional)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from munit_edge.errors import ConfigError, InputError, ModelError
from munit_edge.files.paths import exists, is_file, is_folder
from munit_edge.files.plain_data import read_json, shown
from munit_edge.files.replacing import FolderKind
from munit_edge.model.config import (
    DOMAINS,
    GRAPH_KINDS,
    STATS_KINDS,
    Direction,
    Domain,
    GraphKind,
    ModelConfig,
    TensorIO,
    graph_name,
)
from munit_edge.model.norm_statistics import num_rows
from munit_edge.model.precision import PRECISION_FACTS, Precision
from munit_edge.settings import StrictModel, validate

MANIFEST_FILE = "munit_edge.json"
STYLES_FOLDER = "styles"
"""Where a model directory keeps saved styles (`munit_edge.styles.saved`)."""
FORMAT_VERSION: Literal[1] = 1


class TensorEntry(StrictModel):
    """One input or output of a graph."""

    name: str
    """`image`, `content`, `style`, `norm_stats`, `norm_stats_out` or `core`."""
    dtype: Literal["uint8", "float16", "float32"]
    """Element type; content codes of fp16 graphs are float16, nothing else is. Of bf16 graphs they
    are float32: NumPy has no bfloat16."""
    shape: tuple[int | str, ...]
    """A number where the size is fixed, a name where it is free."""


class WeightsEntry(StrictModel):
    """A file with large tensors of a graph and its `*_stats` twin: ONNX external data."""

    file: str
    """File name inside the model directory."""
    sha256: str
    """Hash of the file, hexadecimal."""
    bytes: int = Field(ge=1)
    """Size of the file."""


class GraphEntry(StrictModel):
    """One graph of the model directory."""

    kind: GraphKind
    """Which of the domain's graphs."""
    domain: Domain
    """The domain."""
    file: str
    """File name inside the model directory."""
    sha256: str
    """Hash of the file, hexadecimal."""
    weights: WeightsEntry | None = None
    """The file with those of its tensors that are not in `file`; None: all are in `file`."""
    opset: int
    """ONNX operator set."""
    precision: Precision = "fp32"
    """Type of the convolutions; what loses most by it may still be float32 (`GateEntry`)."""
    inputs: tuple[TensorEntry, ...]
    """In the order of the graph."""
    outputs: tuple[TensorEntry, ...]
    """In the order of the graph."""

    @property
    def name(self) -> str:
        """What the graph is called, such as `decoder_b`."""
        return graph_name(self.kind, self.domain)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that an engine reads."""
        return (self.file, *([self.weights.file] if self.weights else []))

    @property
    def content_sha256(self) -> str:
        """Hash of all that is in the files: that of `file` alone, or of both hashes."""
        if self.weights is None:
            return self.sha256
        return hashlib.sha256(f"{self.sha256} {self.weights.sha256}".encode()).hexdigest()


class ParityEntry(StrictModel):
    """One comparison of the exported graphs with the networks in torch."""

    check: str
    """Graph (`decoder_b`) or direction (`a2b`)."""
    batch: int
    """Images in the batch."""
    size_hw: tuple[int, int]
    """Image height and width in pixels."""
    worst: float
    """Largest difference: 8-bit levels of an image, absolute of a code."""
    tolerance: float
    """Largest difference that passes."""
    unit: Literal["levels", "absolute"]
    """What `worst` and `tolerance` count."""


class TensorRange(StrictModel):
    """How near one tensor comes to the end of a type's range."""

    tensor: str
    """Module that gives it, such as `decoder_b.up.0.conv`."""
    largest: float
    """Largest magnitude on the gate's images, in float32."""
    limit: float
    """Largest magnitude that the type holds."""


class GateResult(StrictModel):
    """Translations in reduced precision against those in float32, of one direction."""

    direction: Direction
    """From which domain to which."""
    translations: int
    """Images times styles."""
    psnr_db: float
    """Of the mean squared error over all of them (dB, 255 levels; 100 stands for no difference)."""
    worst_psnr_db: float
    """Of the translation that lost most."""
    ssim: float
    """Mean structural similarity, 1: the same."""
    worst_ssim: float
    """Of the translation that lost most."""


class GateEntry(StrictModel):
    """Results of the quality gate: reduced precision against float32, on images of the user."""

    precision: Precision
    """What was tried."""
    arithmetic: Literal["rounded-float32", "onnxruntime"]
    """`rounded-float32`: every operator of the networks computed in float32 and rounded through the
    type, so that an overflow is infinite. `onnxruntime`: the exported files themselves."""
    min_psnr_db: float
    """What `psnr_db` must reach in both directions."""
    pictures: int
    """Images of each domain that were translated."""
    results: tuple[GateResult, ...]
    """One for each direction."""
    kept_fp32: tuple[str, ...] = ()
    """Layers that stayed in float32: named by `--keep-fp32`, or because the gate needed it."""
    ranges: tuple[TensorRange, ...] = ()
    """The tensors that come nearest to the end of the type's range, nearest first."""


class StylePrior(StrictModel):
    """What random styles are drawn from."""

    distribution: Literal["normal"] = "normal"
    """Independent normal numbers."""
    mean: float = 0.0
    """Mean of each number."""
    standard_deviation: float = 1.0
    """Standard deviation of each number."""


class Normalisation(StrictModel):
    """Conversion between bytes and the networks' numbers in [-1, 1]; uint8 graphs contain it."""

    divisor: float = 127.5
    """Network value = byte / divisor - offset."""
    offset: float = 1.0
    """See `divisor`; the inverse is byte = round(clip((value + offset) * divisor, 0, 255))."""


class SizeRules(StrictModel):
    """Image sizes that the graphs take in pixels; the host pads by reflection and crops again."""

    multiple: int = Field(ge=1)
    """Height and width given to the content encoder are multiples of this."""
    content_minimum: int = Field(ge=1)
    """Smallest height and width for the content encoder."""
    style_minimum: int = Field(ge=1)
    """Smallest height and width for the style encoder."""


class Manifest(StrictModel):
    """Contents of `munit_edge.json`."""

    format_version: Literal[1] = FORMAT_VERSION
    """Version of this layout."""
    model: ModelConfig
    """The networks' configuration."""
    io: TensorIO
    """Images at the graphs' borders: uint8 NHWC, or float32 NCHW in [-1, 1]."""
    sizes: SizeRules
    """Image sizes."""
    normalisation: Normalisation = Normalisation()
    """Bytes to the networks' numbers."""
    style_prior: StylePrior = StylePrior()
    """Random styles."""
    graphs: tuple[GraphEntry, ...]
    """Three for each domain."""
    parity: tuple[ParityEntry, ...]
    """The parity check of the export. For int8 and fp8 it covers the graphs before quantisation,
    for bf16 float32 copies of the files."""
    gate: tuple[GateEntry, ...] = ()
    """The quality gate of reduced precision; none for fp32."""
    folded: bool = False
    """Whether the decoders have fewer multiplications than the networks as they were trained."""
    weights: Literal["average", "live"]
    """Which weights of the checkpoint were exported."""
    checkpoint_sha256: str
    """Hash of configuration and weights: the model's identity, the same in every export."""
    checkpoint_iteration: int
    """Optimiser steps that led to the weights."""
    origin: str
    """Program that trained the weights."""
    licence_note: str | None = None
    """Terms that come with foreign weights."""
    versions: dict[str, str]
    """Versions of the programs that made the export."""

    @model_validator(mode="after")
    def _check_weights(self) -> Manifest:
        known: dict[str, WeightsEntry] = {}
        for entry in self.graphs:
            weights = entry.weights
            if weights and known.setdefault(weights.file, weights) != weights:
                raise ValueError(f"two graphs disagree on {shown(weights.file)}")
        return self

    def graph(self, kind: GraphKind, domain: Domain) -> GraphEntry:
        """The entry of one graph.

        Raises:
            ModelError: the manifest lists none.
        """
        for entry in self.graphs:
            if entry.kind == kind and entry.domain == domain:
                return entry
        fix = " without --no-stats-graphs" if kind in STATS_KINDS else ""
        raise ModelError(
            f"the manifest lists no {graph_name(kind, domain)}: export the model again{fix}"
        )


def weights_file(kind: GraphKind, domain: Domain) -> str:
    """Name of the weights file of a translating graph and its twin."""
    return f"{graph_name(kind, domain)}.weights"


def _model_files(data: Mapping[str, Any]) -> frozenset[str]:
    """Names of the files that an export writes; the manifest's contents do not change them."""
    kinds = (*GRAPH_KINDS, *STATS_KINDS)
    graphs = [f"{graph_name(kind, domain)}.onnx" for kind in kinds for domain in DOMAINS]
    weights = [weights_file(kind, domain) for kind in GRAPH_KINDS for domain in DOMAINS]
    return frozenset([MANIFEST_FILE, *graphs, *weights])


MODEL_DIRECTORY = FolderKind(
    name="model directory",
    marker=MANIFEST_FILE,
    keys=frozenset(["format_version", "graphs"]),
    files=_model_files,
    carried=frozenset([STYLES_FOLDER]),
)
"""What `export` makes. Saved styles are the user's and stay, those of another model, too: they are
refused when they are used."""


def graph_tensors(
    config: ModelConfig,
    kind: GraphKind,
    domain: Domain,
    io: TensorIO,
    *,
    batch: int | None = None,
    size_hw: tuple[int | None, int | None] = (None, None),
    precision: Precision = "fp32",
) -> tuple[tuple[TensorEntry, ...], tuple[TensorEntry, ...]]:
    """Inputs and outputs of one graph.

    A decoder of free batch takes several styles for each content code, in order: `results` is a
    multiple of `batch`.

    Args:
        config: the model's configuration.
        kind: which of the domain's graphs.
        domain: the domain.
        io: images at its border.
        batch: fixed batch; None: free.
        size_hw: fixed image height and width in pixels; None: free.
        precision: type of the convolutions; fp16 graphs pass float16 content codes.
    """
    num: int | str = batch or "batch"
    height, width = size_hw[0] or "height", size_hw[1] or "width"
    channels = config.channels(domain)
    shape = (num, height, width, channels) if io == "uint8" else (num, channels, height, width)
    image = TensorEntry(name="image", dtype=io, shape=shape)
    factor = config.size_multiple
    content_hw = tuple(
        size // factor if size else name
        for size, name in zip(size_hw, ("content_height", "content_width"), strict=True)
    )
    # Fixed sizes are multiples of the factor (`ExportOptions.check_size`), so nothing is lost.
    content_shape = (num, config.content_channels, *content_hw)
    dtype = PRECISION_FACTS[precision].content_dtype
    content = TensorEntry(name="content", dtype=dtype, shape=content_shape)
    style = TensorEntry(name="style", dtype="float32", shape=(num, config.style_dim))
    if kind == "content_encoder":
        return (image,), (content,)
    if kind == "style_encoder":
        return (image,), (style,)
    if kind == "decoder":
        # R styles for each of B contents: style and image have B * R rows. A fixed batch has R = 1.
        if batch is None:
            style, image = _of_results(style), _of_results(image)
        return (content, style), (image,)
    # `stats` comes in, `measured` goes out; `core` marks the pixels that are measured, at the
    # resolution of the content code.
    stats_shape = (num, num_rows(config, kind), 2)
    stats = TensorEntry(name="norm_stats", dtype="float32", shape=stats_shape)
    measured = TensorEntry(name="norm_stats_out", dtype="float32", shape=stats_shape)
    core = TensorEntry(name="core", dtype="float32", shape=(num, 1, *content_hw))
    if kind == "content_encoder_stats":
        return (image, stats, core), (content, measured)
    return (content, style, stats, core), (image, measured)


def _of_results(tensor: TensorEntry) -> TensorEntry:
    """A tensor of a decoder with one item for each result, several for each content code."""
    return tensor.model_copy(update={"shape": ("results", *tensor.shape[1:])})


def reduced_precision(manifest: Manifest) -> Precision:
    """The precision of a model: that of its reduced graphs, if some are still in fp32."""
    return next((e.precision for e in manifest.graphs if e.precision != "fp32"), "fp32")


def size_rules(config: ModelConfig) -> SizeRules:
    """The size rules of a model."""
    return SizeRules(
        multiple=config.size_multiple,
        content_minimum=config.content_min_size,
        style_minimum=config.style_min_size,
    )


def is_model_directory(path: Path) -> bool:
    """Whether `path` looks like a model directory."""
    return is_file(path / MANIFEST_FILE)


def read_manifest(directory: Path) -> Manifest:
    """Read and check the manifest of a model directory; graph files are checked when opened.

    Raises:
        InputError: there is no model directory at that path.
        ModelError: the manifest is damaged or of an unknown version.
    """
    path = directory / MANIFEST_FILE
    try:
        data = read_json(path)
    except ConfigError as exc:
        if not isinstance(exc.__cause__, (FileNotFoundError, NotADirectoryError)):
            raise ModelError(f"{exc}: export the model again") from exc
        what = f"it has no {MANIFEST_FILE}" if is_folder(directory) else "it is a file"
        what = what if exists(directory) else "there is nothing of that name"
        raise InputError(
            f"{directory} is no model directory: {what}; make one with `munit-edge export onnx`"
        ) from exc
    version = data.get("format_version") if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path} has format version {shown(version)} and this munit-edge reads "
            f"{FORMAT_VERSION}: export the model again or install the munit-edge that wrote it"
        )
    try:
        return validate(Manifest, data, str(path))
    except ConfigError as exc:
        raise ModelError(f"{exc}; export the model again") from exc


def manifest_json(manifest: Manifest) -> str:
    """The manifest as indented JSON text."""
    data: dict[str, Any] = manifest.model_dump(mode="json")
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
