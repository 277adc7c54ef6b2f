"""`evaluate` measures one model on one test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from munit_edge.evaluation.feature_networks import Networks
from munit_edge.evaluation.feature_scores import NetworkCounts, measure_direction, network_steps
from munit_edge.evaluation.images import TestImages, read_test_images
from munit_edge.evaluation.linear_probe import linear_probe
from munit_edge.evaluation.measures import (
    EncodedDomain,
    TranslatedDomain,
    encode_domain,
    translate_domain,
)
from munit_edge.evaluation.open_networks import open_networks
from munit_edge.evaluation.options import EvaluateOptions
from munit_edge.evaluation.propositions import Propositions, compare_images, style_distribution
from munit_edge.evaluation.report import DirectionMeasures, DomainMeasures, EvaluationReport
from munit_edge.evaluation.scores import NetworkMeasures
from munit_edge.files.names import stored_name
from munit_edge.images.io import Images
from munit_edge.model.config import DIRECTIONS, DOMAINS, Direction, Domain, split_direction
from munit_edge.styles.codes import Styles
from munit_edge.translator import Translator
from munit_edge.version import __version__

PAPER = NetworkCounts()
"""Section 5.2 of the paper."""


def _ignore(_: int = 0) -> None:
    pass


@dataclass(frozen=True)
class Measured:
    """The measures of a model on a set of images."""

    domains: tuple[DomainMeasures, ...]
    """a and b."""
    directions: tuple[DirectionMeasures, ...]
    """The requested directions."""
    propositions: Propositions
    """The paper's propositions."""
    networks: tuple[NetworkMeasures, ...]
    """Measures with feature networks, for each direction; (): there are no networks."""


def evaluate(
    translator: Translator,
    options: EvaluateOptions,
    *,
    model: str,
    on_start: Callable[[int], None] = _ignore,
    on_step: Callable[[], None] = _ignore,
) -> EvaluationReport:
    """Measure a model on a test set.

    The networks named in the options are opened first, then the images are read.

    Args:
        translator: the model, on any engine.
        options: the test set and the measures.
        model: name of the model in the report.
        on_start: called with the number of steps, once the images are read.
        on_step: called after each step.

    Raises:
        InputError: the test set cannot be used, or a network's file is missing.
        ModelError: the model produces codes that are not finite, or a file does not hold such a
            network.
        EngineError: the engine failed.

    Example:
        >>> with Translator.open("model") as translator:
        ...     report = evaluate(translator, EvaluateOptions(data=Path("data")), model="model")
        >>> report.directions[0].style_use
    """
    # First: a wrong file of weights is reported before any work.
    networks = open_networks(options.networks, translator.device)
    test_set = read_test_images(options, translator.config)
    measured = measure(
        translator,
        test_set.images,
        options.styles,
        directions=options.directions,
        seed=options.used_seed,
        networks=networks,
        counts=NetworkCounts(options.pairs or PAPER.pairs, options.samples or PAPER.samples),
        on_start=on_start,
        on_step=on_step,
    )
    return _report(translator, options, test_set, measured, model)


def _report(
    translator: Translator,
    options: EvaluateOptions,
    test_set: TestImages,
    measured: Measured,
    model: str,
) -> EvaluationReport:
    return EvaluationReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        munit_edge=__version__,
        model=stored_name(model),
        model_id=translator.model_id,
        export_id=translator.export_id,
        engine=translator.engine,
        device=translator.device,
        data=stored_name(options.data),
        size=test_set.size,
        styles=options.styles,
        seed=options.used_seed,
        unreadable=test_set.unreadable,
        left_out=test_set.left_out,
        domains=measured.domains,
        directions=measured.directions,
        propositions=measured.propositions,
        networks=measured.networks,
    )


def measure(
    translator: Translator,
    images: Mapping[Domain, Images],
    num_styles: int,
    *,
    directions: Sequence[Direction] = DIRECTIONS,
    seed: int = 0,
    networks: Networks = Networks(),  # noqa: B008 - it is frozen
    counts: NetworkCounts = PAPER,
    on_start: Callable[[int], None] = _ignore,
    on_step: Callable[[], None] = _ignore,
) -> Measured:
    """Measure a model on images in memory.

    Args:
        translator: the model, on any engine.
        images: uint8 [N, H, W, C] of both domains, N at least 10, all of one height and width.
        num_styles: random styles for each image, at least 2.
        directions: directions to measure.
        seed: for all random numbers.
        networks: feature networks, for the measures that need them.
        counts: how many translations are made for them.
        on_start: called with the number of steps.
        on_step: called after each step.

    Raises:
        InputError: the images are too small for a network.
        ModelError: the model produces codes that are not finite.
        EngineError: the engine failed.
    """
    sources = {direction: split_direction(direction)[0] for direction in directions}
    # Encoding both domains, translating each source, and the networks' own steps.
    steps = sum(network_steps(networks, images, direction) for direction in directions)
    on_start(steps + sum(len(images[domain]) for domain in (*DOMAINS, *sources.values())))
    encoded = {
        domain: encode_domain(translator, images[domain], domain, on_step) for domain in DOMAINS
    }
    translated = {
        direction: translate_domain(
            translator,
            images[source],
            direction,
            encoded[source],
            _drawn(translator, direction, len(images[source]), num_styles, seed),
            on_step,
        )
        for direction, source in sources.items()
    }
    return Measured(
        tuple(encoded[domain].measures for domain in DOMAINS),
        tuple(found.measures for found in translated.values()),
        _propositions(images, encoded, translated, seed),
        tuple(
            measure_direction(
                translator, networks, images, found.images, direction, counts, seed, on_step
            )
            for direction, found in translated.items()
            if networks.some
        ),
    )


def _propositions(
    images: Mapping[Domain, Images],
    encoded: Mapping[Domain, EncodedDomain],
    translated: Mapping[Direction, TranslatedDomain],
    seed: int,
) -> Propositions:
    made = {direction: found.images for direction, found in translated.items()}
    alone, joint = compare_images(images, made, seed)
    features_a, features_b = (encoded[domain].content_features for domain in DOMAINS)
    return Propositions(
        styles={d: style_distribution(encoded[d].styles, seed) for d in DOMAINS},
        content_probe=linear_probe(features_a, features_b, seed),
        translations=alone,
        joint=joint,
    )


def _drawn(
    translator: Translator, direction: Direction, count: int, num_styles: int, seed: int
) -> Styles:
    """The random styles of each image, float32 [N, S, style_dim]; they differ by direction."""
    codes = translator.sample_styles(count * num_styles, seed + DIRECTIONS.index(direction))
    return codes.reshape(count, num_styles, -1)
