"""`Translator`: images in, translated images out, on any engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munit_edge.closing import Closing
from munit_edge.engines.base import AnyArray, DeviceArray, GraphSet, Runner, take_rows
from munit_edge.engines.batches import pair_spans, run_all_outputs, run_in_batches
from munit_edge.engines.factory import open_graphs
from munit_edge.errors import InputError
from munit_edge.files.atomic import sha256
from munit_edge.images.pixel_formats import Images
from munit_edge.images.sizes import pad_to
from munit_edge.model.config import Direction, Domain, GraphKind, ModelConfig, split_direction
from munit_edge.model.manifest import MANIFEST_FILE, STYLES_FOLDER, is_model_directory
from munit_edge.model.norm_statistics import NormStatistics, own_statistics
from munit_edge.model.normalisation import bytes_from_floats, floats_from_bytes
from munit_edge.styles import codes as style_codes
from munit_edge.styles.codes import Styles
from munit_edge.styles.saved import SavedStyles

DECODE_PIXELS = 1 << 20
"""Pixels that the decoder gets at once, so that memory does not grow with the styles."""
DECODE_PIXELS_CPU = 1 << 16
"""The limit on the CPU, where larger batches are no faster and take more memory."""


@dataclass(frozen=True)
class Content:
    """Content codes of images of one size; keep them to decode them again with other styles."""

    codes: NDArray[Any] | DeviceArray
    """Float [N, content_channels, h, w], of the padded images. A GPU engine may leave
    them on the GPU for `Translator.decode`; `numpy.asarray(codes)` copies them to the host."""
    size_hw: tuple[int, int]
    """Height and width in pixels of the images before padding."""


class Translator(Closing):
    """Translates images between domains a and b. Safe to use from several threads.

    Only the graphs that a call needs are opened, at the first call that needs them, or a moment
    earlier in a thread of their own.

    Example:
        >>> with Translator.open("model") as translator:
        ...     styles = translator.sample_styles(4, seed=0)
        ...     results = translator.translate(images, "a2b", styles=styles)
    """

    def __init__(self, graphs: GraphSet, path: Path | None = None) -> None:
        self._graphs = graphs
        self._path = path

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        engine: str = "auto",
        device: str = "auto",
        tf32: bool = False,
        cuda_graph: bool = False,
        warm_up: bool = False,
        cpu_precision: str | None = None,
    ) -> Translator:
        """Open a model.

        Args:
            path: model directory; with torch a checkpoint or run folder.
            engine: "auto", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx" or "torch"; "auto"
                is the fastest one installed that computes what a model directory promises (never
                TensorRT), torch for a checkpoint or run folder.
            device: "auto", "cpu", "cuda" or "cuda:N"; with OpenVINO also "gpu", "gpu:N" (Intel's)
                and "npu". A device that cannot be used is an error; only "auto" falls back to
                another, which `device` names.
            tf32: let float32 convolutions round their inputs to 10 bits: faster on NVIDIA GPUs from
                Ampere on, but results differ from other engines.
            cuda_graph: record the GPU's work when images of one size follow each other, and start
                it with one call (TensorRT only).
            warm_up: run each graph once for every size range of its engine when it is opened, so
                that the first image takes no longer than the others (TensorRT only).
            cpu_precision: let a CPU compute an fp32 export in "bf16" if it has the type
                (OpenVINO only); None: in what the export promises.

        Raises:
            MunitEdgeError: see `munit_edge.engines.factory.open_graphs`.
        """
        graphs = open_graphs(
            Path(path),
            engine,
            device,
            tf32=tf32,
            cuda_graph=cuda_graph,
            warm_up=warm_up,
            cpu_precision=cpu_precision,
        )
        return cls(graphs, Path(path))

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self._graphs.config

    @property
    def engine(self) -> str:
        """The backend in use."""
        return self._graphs.engine

    @property
    def runs_on(self) -> str:
        """Backend and device in words, and why they were taken where there was a choice."""
        reason = f", {self._graphs.reason}" if self._graphs.reason else ""
        return f"{self.engine} on {self.device}{reason}"

    @property
    def device(self) -> str:
        """The device in use."""
        return self._graphs.device

    @property
    def model_id(self) -> str:
        """SHA-256 of configuration and weights; saved styles carry it."""
        return self._graphs.model_id

    @property
    def export_id(self) -> str:
        """Distinguishes exports of the same weights, such as those in another precision.

        The manifest's SHA-256; for a checkpoint the `model_id`.
        """
        if self._path is not None and is_model_directory(self._path):
            return sha256(self._path / MANIFEST_FILE)
        return self.model_id

    @property
    def opened_graphs(self) -> list[str]:
        """Names of the graphs opened so far."""
        return self._graphs.opened

    @property
    def pixels_at_once(self) -> int:
        """Number of pixels best translated in one call: more only take larger buffers."""
        return DECODE_PIXELS_CPU if self.device == "cpu" else DECODE_PIXELS

    def open_ahead(self, kind: GraphKind, domain: Domain) -> None:
        """Begin to open a graph that a later call will use; returns at once.

        Useful while an image is being read. While another graph runs it saves little, as both want
        all cores, and memory peaks: a graph takes up to three times its size while it is opened.
        Errors are left to the later call.

        Args:
            kind: "content_encoder", "style_encoder" or "decoder".
            domain: the images' domain; of a decoder that of its results.
        """
        self._graphs.open_ahead(kind, domain)

    def padded_size(self, size_hw: tuple[int, int], domain: Domain) -> tuple[int, int]:
        """Height and width that images of a size are padded to; equal ones can share a batch.

        Args:
            size_hw: height and width of the images in pixels.
            domain: the images' domain.

        Raises:
            InputError: they are larger than a fixed-size graph.
        """
        runner = self._graphs.runner("content_encoder", domain)
        config = self.config
        return self._fitting(runner, size_hw, config.size_multiple, config.content_min_size)

    def sample_styles(self, count: int, seed: int = 0) -> Styles:
        """Random codes, float32 [count, style_dim] from N(0, 1); see `styles.sample_styles`."""
        return style_codes.sample_styles(count, self.config.style_dim, seed)

    @property
    def saved_styles(self) -> SavedStyles:
        """The model's saved styles: `saved_styles.read("sunset", "b").codes`.

        Raises:
            InputError: this translator was made from graphs, without a path.
        """
        if self._path is None:
            raise InputError(
                "saved styles belong to a model directory: open it with Translator.open(path)"
            )
        folder = self._path / STYLES_FOLDER
        return SavedStyles(folder, self.model_id, self.config.style_dim)

    def translate(self, images: Images, direction: Direction, *, styles: Styles) -> Images:
        """Translate every image with every style: each image is encoded once.

        Args:
            images: uint8 [N, H, W, C], C channels of the source domain, any H and W.
            direction: "a2b" or "b2a".
            styles: float32 [S, style_dim] for the target domain.

        Returns:
            uint8 [N, S, H, W, C], C channels of the target domain.

        Raises:
            InputError: an array has the wrong type or shape.
            EngineError: the engine failed.
        """
        source, target = split_direction(direction)
        return self.decode(self.encode_content(images, source), styles, target)

    def encode_content(self, images: Images, domain: Domain) -> Content:
        """Content codes of images.

        Args:
            images: uint8 [N, H, W, C] of `domain`, any H and W.
            domain: the images' domain.

        Raises:
            InputError: `images` has the wrong type or shape, or is larger than a fixed-size graph.
        """
        self._check_images(images, domain)
        # The true size: `decode` cuts the padding off by it.
        size_hw = images.shape[1], images.shape[2]
        padded = pad_to(images, self.padded_size(size_hw, domain))
        return Content(self.encode_padded(padded, domain).codes, size_hw)

    def encode_padded(self, images: Images, domain: Domain) -> Content:
        """Content codes of images that are padded already, such as a batch of different sizes.

        Args:
            images: uint8 [N, H, W, C] of `domain`; H and W are the `padded_size`.
            domain: the images' domain.

        Raises:
            InputError: `images` has the wrong type or shape, or another size.
        """
        self._check_images(images, domain)
        size_hw = images.shape[1], images.shape[2]
        needed = self.padded_size(size_hw, domain)
        if size_hw != needed:
            raise InputError(f"images have height and width {size_hw}: pad them to {needed}")
        runner = self._graphs.runner("content_encoder", domain)
        # Left where they are, as only the decoder reads them.
        codes = run_in_batches(runner, {"image": self._fed(images)}, on_device=True)
        return Content(codes, size_hw)

    def encode_style(self, images: Images, domain: Domain) -> Styles:
        """Style codes of reference images, float32 [N, style_dim].

        Args:
            images: uint8 [N, H, W, C] of `domain`, any H and W; they are not padded unless they are
                smaller than the style encoder takes, or the graph has a fixed size.
            domain: the references' domain.

        Raises:
            InputError: `images` has the wrong type or shape, or is larger than a fixed-size graph.
        """
        self._check_images(images, domain)
        runner = self._graphs.runner("style_encoder", domain)
        # Multiple 1: the style encoder averages over all positions, so any size fits.
        fitting = self._fit(runner, images, 1, self.config.style_min_size)
        return np.asarray(run_in_batches(runner, {"image": self._fed(fitting)}))

    def decode(self, content: Content, styles: Styles, domain: Domain) -> Images:
        """Decode every content code with every style.

        Args:
            content: N codes, from either domain.
            styles: float32 [S, style_dim] for `domain`.
            domain: the domain of the result.

        Returns:
            uint8 [N, S, H, W, C] of the encoded images' size.

        Raises:
            InputError: an array has the wrong shape.
        """
        styles = style_codes.check_styles(styles, self.config)
        codes = content.codes
        if codes.ndim != 4 or codes.shape[1] != self.config.content_channels:
            raise InputError(
                f"content codes have shape {codes.shape}: this model takes "
                f"[N, {self.config.content_channels}, height, width]"
            )
        runner = self._graphs.runner("decoder", domain)
        num_images, num_styles = len(codes), len(styles)
        height, width = content.size_hw
        shape = (num_images, num_styles, height, width, self.config.channels(domain))
        result = np.empty(shape, dtype=np.uint8)
        # A view: pair i * num_styles + s is image i in style s.
        flat = result.reshape(num_images * num_styles, *shape[2:])
        # Of one decoded image, with its padding; codes are [N, C, h, w].
        pixels = codes.shape[2] * codes.shape[3] * self.config.size_multiple**2
        # Pairs in a run.
        step = max(runner.batch_limits[0], self.pixels_at_once // pixels)
        # Then one content code in the feed serves all styles of its image.
        shared = runner.several_styles
        for start, stop in pair_spans(len(flat), num_styles, step, shared=shared):
            pairs = np.arange(start, stop)
            rows: list[int] = (pairs // num_styles).tolist()
            feeds: dict[str, AnyArray] = {
                "content": take_rows(codes, sorted(set(rows)) if shared else rows),
                "style": styles[pairs % num_styles],
            }
            images = np.asarray(run_in_batches(runner, feeds))
            if self._graphs.io == "float32":
                images = bytes_from_floats(images)
            # Padding is at the bottom and right (`pad_to`).
            flat[pairs] = images[:, :height, :width]
        return result

    def encode_measured(
        self,
        images: Images,
        domain: Domain,
        norm_stats: NormStatistics | None = None,
        *,
        core: NDArray[np.float32] | None = None,
    ) -> tuple[Content, NormStatistics]:
        """`encode_content` with given norm statistics, which are measured too.

        Args:
            images: uint8 [N, H, W, C] of `domain`, any H and W.
            domain: the images' domain.
            norm_stats: float32 [N, K, 2], the statistics to normalise by, see
                `munit_edge.model.norm_statistics`; None: each norm's own, as in `encode_content`.
            core: float32 [h, w], the weight of each content pixel in the measured statistics; None:
                equal weights.

        Returns:
            The content codes, and the statistics that the norms measured on their input: [N, K, 2].

        Raises:
            ModelError: the model was exported without `*_stats` graphs.
            InputError: see `encode_content`.
        """
        self._check_images(images, domain)
        kind: GraphKind = "content_encoder_stats"
        runner = self._graphs.runner(kind, domain)
        config = self.config
        padded = self._fit(runner, images, config.size_multiple, config.content_min_size)
        content_hw = tuple(side // config.size_multiple for side in padded.shape[1:3])
        feeds: dict[str, AnyArray] = {"image": self._fed(padded)}
        feeds |= _stats_feeds(config, kind, len(images), content_hw, norm_stats, core)
        found = run_all_outputs(runner, feeds)
        size_hw = images.shape[1], images.shape[2]
        return Content(found["content"], size_hw), found["norm_stats_out"]

    def decode_measured(
        self,
        content: Content,
        styles: Styles,
        domain: Domain,
        norm_stats: NormStatistics | None = None,
        *,
        core: NDArray[np.float32] | None = None,
    ) -> tuple[Images, NormStatistics]:
        """Decode each content code with its own style and given norm statistics.

        Args:
            content: N codes, from either domain.
            styles: float32 [N, style_dim] for `domain`.
            domain: the domain of the result.
            norm_stats: see `encode_measured`.
            core: see `encode_measured`.

        Returns:
            uint8 [N, H, W, C] of the encoded images' size, and the measured statistics.

        Raises:
            ModelError: the model was exported without `*_stats` graphs.
            InputError: an array has the wrong shape.
        """
        styles = style_codes.check_styles(styles, self.config)
        codes = content.codes
        if len(styles) != len(codes):
            raise InputError(
                f"there are {len(codes)} content codes and {len(styles)} styles: pass one for each"
            )
        kind: GraphKind = "decoder_stats"
        runner = self._graphs.runner(kind, domain)
        content_hw = codes.shape[2:]
        feeds: dict[str, AnyArray] = {"content": codes, "style": styles}
        feeds |= _stats_feeds(self.config, kind, len(codes), content_hw, norm_stats, core)
        found = run_all_outputs(runner, feeds)
        images = found["image"]
        if self._graphs.io == "float32":
            images = bytes_from_floats(images)
        height, width = content.size_hw
        return images[:, :height, :width], found["norm_stats_out"]

    def close(self) -> None:
        """Free the engine's memory."""
        self._graphs.close()

    def _check_images(self, images: Images, domain: Domain) -> None:
        channels = self.config.channels(domain)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels:
            raise InputError(
                f"images have type {images.dtype} and shape {images.shape}: domain {domain} takes "
                f"uint8 [N, height, width, {channels}]"
            )
        if 0 in images.shape:
            raise InputError(f"images have shape {images.shape}: there is nothing to translate")

    def _fit(self, runner: Runner, images: Images, multiple: int, minimum: int) -> Images:
        """Pad `images` to a size that the graph takes."""
        size_hw = images.shape[1], images.shape[2]
        return pad_to(images, self._fitting(runner, size_hw, multiple, minimum))

    def _fitting(
        self, runner: Runner, size_hw: tuple[int, int], multiple: int, minimum: int
    ) -> tuple[int, int]:
        """The smallest size from `size_hw` up that the graph takes."""
        # NHWC or NCHW: where the height is.
        axis = 1 if self._graphs.io == "uint8" else 2
        height, width = size_hw
        fixed = _fixed(runner, "image", axis), _fixed(runner, "image", axis + 1)
        if height > (fixed[0] or height) or width > (fixed[1] or width):
            raise InputError(
                f"an image of {height} x {width} pixels (height x width) does not fit graph "
                f"{runner.name}, exported for {fixed[0]} x {fixed[1]}: make it smaller (--size) or "
                "export again without --height and --width"
            )
        # Rounded up to the multiple.
        free = (-(-max(side, minimum) // multiple) * multiple for side in (height, width))
        target_height, target_width = (f or size for f, size in zip(fixed, free, strict=True))
        return target_height, target_width

    def _fed(self, images: Images) -> NDArray[Any]:
        """`images` as the graphs take them."""
        return images if self._graphs.io == "uint8" else floats_from_bytes(images)


def _fixed(runner: Runner, tensor: str, axis: int) -> int | None:
    """The fixed size of an input's axis, or None where it is free."""
    for spec in runner.inputs:
        if spec.name == tensor:
            size = spec.shape[axis]
            return size if isinstance(size, int) else None
    return None


def _stats_feeds(
    config: ModelConfig,
    kind: GraphKind,
    batch: int,
    content_hw: tuple[int, ...],
    norm_stats: NormStatistics | None,
    core: NDArray[np.float32] | None,
) -> dict[str, AnyArray]:
    """The inputs that only `*_stats` graphs have."""
    own = own_statistics(config, kind, batch)
    if norm_stats is None:
        norm_stats = own
    elif norm_stats.shape != own.shape:
        raise InputError(
            f"norm_stats have shape {norm_stats.shape}: this {kind.removesuffix('_stats')} takes "
            f"{own.shape}"
        )
    if core is None:
        core = np.ones(content_hw, np.float32)
    elif core.shape != content_hw or not core.any():
        raise InputError(
            f"core has shape {core.shape} and sum {core.sum():g}: pass weights of shape "
            f"{content_hw}, not all 0"
        )
    # [h, w] -> [N, 1, h, w], copied: engines know no strides.
    weights = np.broadcast_to(core, (batch, 1, *content_hw))
    return {"norm_stats": norm_stats, "core": np.ascontiguousarray(weights)}
