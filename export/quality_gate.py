"""The quality gate: translations in reduced precision against float32, on the user's images.

Reducing one layer at a time finds those that lose most. Errors of single layers nearly add up, so
the same numbers show how many of the worst must stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from munit_edge.engines.base import GraphSet, Runner
from munit_edge.errors import GateError
from munit_edge.images.difference import mean_squared_error, psnr_db, ssim
from munit_edge.images.io import Images
from munit_edge.model.config import (
    DIRECTIONS,
    DOMAINS,
    GRAPH_KINDS,
    Direction,
    Domain,
    GraphKind,
    graph_name,
    split_direction,
)
from munit_edge.model.manifest import GateResult
from munit_edge.model.normalisation import bytes_from_floats, floats_from_bytes
from munit_edge.styles.codes import sample_styles

NUM_SAMPLED_STYLES = 2
"""Random styles for each image, in addition to the style of a reference image."""
LOSS_IMAGES = 2
"""Images of each domain for measuring the loss of a single layer."""
NAMED_LAYERS = 5
"""Layers that a failed gate names."""

Array = NDArray[Any]

OnPart = Callable[[float, str], None]
"""Called during a long step with the part of it that is done, 0 to 1, and with what was done."""


@dataclass(frozen=True)
class Measurement:
    """What the gate measured."""

    results: tuple[GateResult, ...]
    """One for each direction."""
    faults: tuple[str, ...] = ()
    """Codes and tensors with NaN or infinite values."""

    @property
    def psnr_db(self) -> float:
        """Of the direction that lost most."""
        return min(result.psnr_db for result in self.results)

    def holds(self, min_psnr_db: float) -> bool:
        """Whether nothing overflowed and both directions reach the threshold."""
        return not self.faults and self.psnr_db >= min_psnr_db


@dataclass
class Bench:
    """Images, styles, and their translations in float32.

    Args:
        reference: the model in float32.
        images: of each domain, uint8 [1, H, W, C] each.
        on_part: called after each image when all of them are measured.
    """

    reference: GraphSet
    images: dict[Domain, list[Images]]
    on_part: OnPart = lambda part, note: None
    _codes: dict[tuple[GraphKind, Domain, int], Array] = field(default_factory=dict)
    _expected: dict[tuple[Direction, int, int], Images] = field(default_factory=dict)

    def measure(
        self, candidate: GraphSet, changed: Collection[str] | None = None, count: int | None = None
    ) -> Measurement:
        """Translate with `candidate` and compare.

        Args:
            candidate: the model in reduced precision.
            changed: names of the graphs that differ from the reference; None: all.
            count: images of each domain to use; None: all.
        """
        graphs = changed
        if graphs is None:
            graphs = [graph_name(kind, domain) for domain in DOMAINS for kind in GRAPH_KINDS]
        # A dict as an ordered set.
        faults: dict[str, None] = {}
        results = tuple(
            self._compare(candidate, graphs, direction, count, faults) for direction in DIRECTIONS
        )
        return Measurement(results, tuple(faults))

    def _compare(
        self,
        candidate: GraphSet,
        changed: Collection[str],
        direction: Direction,
        count: int | None,
        faults: dict[str, None],
    ) -> GateResult:
        errors, similarities = [], []
        source, target = split_direction(direction)
        # A direction that no changed graph takes part in is compared with itself, without a run.
        involved = {f"content_encoder_{source}", f"style_encoder_{target}", f"decoder_{target}"}
        num_images = len(self.images[source][:count])
        for index in range(num_images):
            found = (
                self._translations(candidate, changed, direction, index, faults)
                if involved & set(changed)
                else self._expectations(direction, index)
            )
            for got, expected in zip(found, self._expectations(direction, index), strict=True):
                errors.append(mean_squared_error(got, expected))
                similarities.append(ssim(got, expected))
            # The few images of a layer's trial would hide the layer's name.
            if count is None:
                part = (DIRECTIONS.index(direction) + (index + 1) / num_images) / len(DIRECTIONS)
                self.on_part(part, f"quality gate: image {index + 1} of {num_images}, {direction}")
        return GateResult(
            direction=direction,
            translations=len(errors),
            psnr_db=psnr_db(float(np.mean(errors))),
            worst_psnr_db=psnr_db(max(errors)),
            ssim=float(np.mean(similarities)),
            worst_ssim=min(similarities),
        )

    def _expectations(self, direction: Direction, index: int) -> Iterator[Images]:
        # Made once for each image and style: the gate may compare with it for every layer.
        for number in range(NUM_SAMPLED_STYLES + 1):
            key = (direction, index, number)
            if key not in self._expected:
                made = self._translations(self.reference, (), direction, index, {})
                for i, image in enumerate(made):
                    self._expected[direction, index, i] = image
            yield self._expected[key]

    def _translations(
        self,
        candidate: GraphSet,
        changed: Collection[str],
        direction: Direction,
        index: int,
        faults: dict[str, None],
    ) -> Iterator[Images]:
        """The image in every style, uint8 [H, W, C] each."""
        source, target = split_direction(direction)
        # Graphs that did not change are not run again: trying single layers takes many runs.
        graphs = candidate if f"decoder_{target}" in changed else self.reference

        def code(kind: GraphKind, domain: Domain, index: int) -> Array:
            name = graph_name(kind, domain)
            if name not in changed:
                return self._reference_code(kind, domain, index)
            found = encode(candidate.runner(kind, domain), self.images[domain][index])
            if not np.isfinite(found).all():
                faults[name] = None
            return found

        content = code("content_encoder", source, index)
        guided = code("style_encoder", target, index % len(self.images[target]))
        sampled = sample_styles(NUM_SAMPLED_STYLES, self.reference.config.style_dim, seed=index)
        for style in [*sampled, guided[0]]:
            yield decode(graphs.runner("decoder", target), content, style[None])

    def _reference_code(self, kind: GraphKind, domain: Domain, index: int) -> Array:
        key = (kind, domain, index)
        if key not in self._codes:
            runner = self.reference.runner(kind, domain)
            self._codes[key] = encode(runner, self.images[domain][index])
        return self._codes[key]


def image_feed(runner: Runner, image: Images) -> dict[str, Array]:
    """The input of an encoder for images, uint8 [N, H, W, C]."""
    fed = image if runner.inputs[0].dtype == "uint8" else floats_from_bytes(image)
    return {"image": fed}


def batch_feeds(runner: Runner, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Feeds of a batch of one in a graph's types, repeated where its batch is fixed."""
    return {
        spec.name: np.repeat(
            feeds[spec.name].astype(spec.dtype, copy=False),
            spec.shape[0] if isinstance(spec.shape[0], int) else 1,
            axis=0,
        )
        for spec in runner.inputs
    }


def encode(runner: Runner, image: Images) -> Array:
    """The code of one image, uint8 [1, H, W, C]."""
    return _run_one(runner, image_feed(runner, image))


def decode(runner: Runner, content: Array, style: Array) -> Images:
    """The image of one content code and one style code: uint8 [H, W, C]."""
    image = _run_one(runner, {"content": content, "style": style})
    found: Images = (bytes_from_floats(image) if image.dtype != np.uint8 else image)[0]
    return found


OnTrial = Callable[[str], None]


class Measure(Protocol):
    """Measures the model with only some layers reduced; the rest as `Bench.measure`."""

    def __call__(
        self,
        layers: Collection[str],
        changed: Collection[str] | None = None,
        count: int | None = None,
    ) -> Measurement:
        """Reduce `layers` and measure."""


def layer_losses(
    measure: Measure, layers: Sequence[str], on_trial: OnTrial
) -> list[tuple[str, float]]:
    """How much each layer costs when it alone is reduced: (name, mean squared error), worst first.

    Args:
        measure: the measurement.
        layers: which to try.
        on_trial: called with the name of each layer before it is tried.
    """
    losses = []
    for layer in layers:
        on_trial(layer)
        # Only the graph that contains the layer runs again.
        found = measure([layer], [layer.partition(".")[0]], LOSS_IMAGES)
        error = max(_squared_error(result.psnr_db) for result in found.results)
        losses.append((layer, float("inf") if found.faults else error))
    return sorted(losses, key=lambda loss: -loss[1])


def layers_to_keep(losses: Sequence[tuple[str, float]], min_psnr_db: float) -> list[str]:
    """The smallest number of worst layers without which the summed losses meet the threshold."""
    # Rounding errors of different layers are nearly independent, so their squares add up.
    budget = _squared_error(min_psnr_db)
    for count in range(1, len(losses)):
        if sum(error for _, error in losses[count:]) <= budget:
            return [layer for layer, _ in losses[:count]]
    return [layer for layer, _ in losses]


def gate_error(
    precision: str, found: Measurement, min_psnr_db: float, losses: Sequence[tuple[str, float]]
) -> GateError:
    """The error of a gate that fails; names the layers that lose most."""
    measured = ", ".join(f"{r.direction} {r.psnr_db:.1f} dB" for r in found.results)
    overflow = f"; NaN or infinite values in {', '.join(found.faults)}" if found.faults else ""
    named = [f"{layer} ({_loss_text(error)})" for layer, error in losses[:NAMED_LAYERS]]
    worst = f"; the layers that lose most are {', '.join(named)}" if named else ""
    return GateError(
        f"{precision} changes the translations too much, so nothing was written: PSNR against fp32 "
        f"is {measured}, minimum {min_psnr_db:g} dB{overflow}{worst}; keep such layers in fp32 "
        "with --keep-fp32 NAME, let --auto-mixed choose, or lower --min-psnr"
    )


def _loss_text(error: float) -> str:
    return "overflows" if np.isinf(error) else f"{psnr_db(error):.1f} dB alone"


def _squared_error(psnr: float) -> float:
    # The inverse of `munit_edge.images.difference.psnr_db`: PSNR = 10 log10(255^2 / MSE).
    return float(255**2 / 10 ** (psnr / 10))


def _run_one(runner: Runner, feeds: Mapping[str, Array]) -> Array:
    """The only output of a graph for a batch of one."""
    return next(iter(runner.run(batch_feeds(runner, feeds)).values()))[:1]
