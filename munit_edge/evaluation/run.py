"""`evaluate`: one model, one test set, one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from munit_edge import __version__
from munit_edge.config import DIRECTIONS, DOMAINS, Direction, Domain, split_direction
from munit_edge.evaluation.linear_probe import linear_probe
from munit_edge.evaluation.measures import (
    EncodedDomain,
    TranslatedDomain,
    encode_domain,
    translate_domain,
)
from munit_edge.evaluation.options import EvaluateOptions
from munit_edge.evaluation.pictures import read_pictures
from munit_edge.evaluation.propositions import Propositions, compare_pictures, style_distribution
from munit_edge.evaluation.report import EvaluationReport
from munit_edge.images import Images
from munit_edge.styles import Styles
from munit_edge.translator import Translator


def _ignore(_: int = 0) -> None:
    pass


def evaluate(
    translator: Translator,
    options: EvaluateOptions,
    *,
    model: str,
    on_start: Callable[[int], None] = _ignore,
    on_step: Callable[[], None] = _ignore,
) -> EvaluationReport:
    """Measure a model on a test set.

    Args:
        translator: the model, on any engine.
        options: the test set, and what is measured.
        model: what the report calls the model.
        on_start: called with the number of steps, once the pictures are read.
        on_step: called after each of them.

    Raises:
        InputError: the test set cannot be used.
        ModelError: the model gives codes that are not finite.
        EngineError: the engine failed.

    Example:
        >>> with Translator.open("model") as translator:
        ...     report = evaluate(translator, EvaluateOptions(data=Path("data")), model="model")
        >>> report.directions[0].style_use
    """
    pictures = read_pictures(options, translator.config)
    images = pictures.images
    sources = {direction: split_direction(direction)[0] for direction in options.directions}
    on_start(sum(len(images[domain]) for domain in (*DOMAINS, *sources.values())))
    encoded = {
        domain: encode_domain(translator, images[domain], domain, on_step) for domain in DOMAINS
    }
    translated = {
        direction: translate_domain(
            translator,
            images[source],
            direction,
            encoded[source],
            _drawn(translator, direction, len(images[source]), options),
            on_step,
        )
        for direction, source in sources.items()
    }
    return EvaluationReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        munit_edge=__version__,
        model=model,
        model_id=translator.model_id,
        export_id=translator.export_id,
        engine=translator.engine,
        device=translator.device,
        data=str(options.data),
        size=pictures.size,
        styles=options.styles,
        seed=options.seed,
        unreadable=pictures.unreadable,
        domains=tuple(encoded[domain].measures for domain in DOMAINS),
        directions=tuple(found.measures for found in translated.values()),
        propositions=_propositions(images, encoded, translated, options.seed),
    )


def _propositions(
    images: Mapping[Domain, Images],
    encoded: Mapping[Domain, EncodedDomain],
    translated: Mapping[Direction, TranslatedDomain],
    seed: int,
) -> Propositions:
    made = {direction: found.images for direction, found in translated.items()}
    alone, joint = compare_pictures(images, made, seed)
    features_a, features_b = (encoded[domain].content_features for domain in DOMAINS)
    return Propositions(
        styles={d: style_distribution(encoded[d].styles, seed) for d in DOMAINS},
        content_probe=linear_probe(features_a, features_b, seed),
        translations=alone,
        joint=joint,
    )


def _drawn(
    translator: Translator, direction: Direction, pictures: int, options: EvaluateOptions
) -> Styles:
    """The random styles of each picture: float32 [N, S, style_dim], others in each direction."""
    seed = options.seed + DIRECTIONS.index(direction)
    return translator.sample_styles(pictures * options.styles, seed).reshape(
        pictures, options.styles, -1
    )
