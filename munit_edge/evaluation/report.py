"""Results of `munit-edge evaluate`: the data, and as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

from munit_edge.evaluation.propositions import Propositions
from munit_edge.evaluation.scores import (
    ClassScores,
    Diversity,
    FrechetDistance,
    KernelDistance,
    NetworkCard,
    NetworkMeasures,
)
from munit_edge.model.config import Direction, Domain
from munit_edge.settings import StrictModel


class DomainMeasures(StrictModel):
    """Measures on the real images of one domain. Distances are mean absolute differences."""

    domain: Domain
    """The domain."""
    pictures: int
    """Number of images."""
    image_error: float
    """Between an image and its reconstruction from its own content and style, in levels of 255
    (equation 1 of the paper)."""
    content_distance: float
    """Between the content codes of two different images."""
    picture_distance: float
    """Between the pixels of two different images, in levels of 255."""


class DirectionMeasures(StrictModel):
    """Measures on the translations in one direction. Distances are mean absolute differences."""

    direction: Direction
    """Source and target domain."""
    style_error: float
    """Between a random style and the style code of its translation (equation 3)."""
    content_error: float
    """Between the content codes of an image and of its translation (equation 2)."""
    content_error_relative: float
    """`content_error` divided by `content_distance` of the source domain."""
    cycle_error: float
    """Between an image and its translation there and back with its own style, in levels of 255."""
    style_use: float
    """Between translations of one image with two random styles, in levels of 255."""


class EvaluationReport(StrictModel):
    """The content of `munit-edge evaluate --json FILE`."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    created: str
    """Date and time, ISO 8601."""
    munit_edge: str
    """Version of munit-edge."""
    model: str
    """Path as the user gave it."""
    model_id: str
    """SHA-256 of configuration and weights."""
    export_id: str
    """Distinguishes exports of the same weights."""
    engine: str
    """Name of the backend."""
    device: str
    """The device that it ran on."""
    data: str
    """Folder of the test set as the user gave it."""
    size: int
    """Height and width of the images, in pixels."""
    styles: int
    """Random styles for each image."""
    seed: int
    """Seed for all random numbers."""
    unreadable: tuple[str, ...]
    """Faults of images that were skipped."""
    left_out: str = ""
    """Files of the test set that are not images, by kind."""
    domains: tuple[DomainMeasures, ...]
    """a and b."""
    directions: tuple[DirectionMeasures, ...]
    """The requested directions."""
    propositions: Propositions
    """The paper's propositions on this test set."""
    networks: tuple[NetworkMeasures, ...] = ()
    """Measures with feature networks, for each direction; (): there are no networks."""


T = TypeVar("T")

Row = tuple[str, Sequence[float | None], str]
"""Name, a value for each column (None: not measured), and what to compare it with."""


def as_text(report: EvaluationReport) -> str:
    """For a terminal."""
    return "\n".join(_lines(report))


def _lines(report: EvaluationReport) -> Iterator[str]:
    numbers = " + ".join(str(found.pictures) for found in report.domains)
    yield f"{report.model}: {report.engine} on {report.device}"
    yield (
        f"{numbers} images of {report.data} at {report.size} x {report.size} pixels, "
        f"{report.styles} random styles each, seed {report.seed}"
    )
    yield ""
    yield from _table("real images", [f.domain for f in report.domains], _domain_rows(report))
    yield ""
    names = [found.direction for found in report.directions]
    yield from _table("translations", names, _direction_rows(report))
    yield ""
    yield from _table("styles of real images", ["a", "b"], _style_rows(report.propositions))
    yield ""
    yield from _table("both domains", [""], _joint_rows(report.propositions))
    if report.networks:
        yield ""
        yield from _table("by feature networks", names, _network_rows(report.networks))
        yield from _network_cards(report.networks)


def _domain_rows(report: EvaluationReport) -> list[Row]:
    found = report.domains
    return [
        ("image reconstruction error", [f.image_error for f in found], "levels of 255; 0: exact"),
        (
            "two different images",
            [f.picture_distance for f in found],
            "levels of 255, for comparison",
        ),
    ]


def _direction_rows(report: EvaluationReport) -> list[Row]:
    found = report.directions
    return [
        ("style reconstruction error", [f.style_error for f in found], "0: exact; 0.80: no style"),
        (
            "content reconstruction error",
            [f.content_error_relative for f in found],
            "0: exact; 1: as far as another image's",
        ),
        ("cycle error, own style", [f.cycle_error for f in found], "levels of 255; 0: exact"),
        ("style use", [f.style_use for f in found], "levels of 255; 0: styles are ignored"),
        (
            "p-value against real images",
            [test.p_value for test in report.propositions.translations.values()],
            "below 0.05: colours or shapes differ",
        ),
    ]


def _style_rows(propositions: Propositions) -> list[Row]:
    found = list(propositions.styles.values())
    return [
        ("root mean square of the means", [f.mean_length for f in found], "0: like N(0, I)"),
        ("spread", [f.spread for f in found], "1: like N(0, I)"),
        ("covariance error", [f.covariance_error for f in found], "0: like N(0, I)"),
        (
            "expected for N(0, I)",
            [f.expected_covariance_error for f in found],
            "for comparison",
        ),
        ("squared MMD to N(0, I)", [f.test.mmd_squared for f in found], "0: like N(0, I)"),
        ("its p-value", [f.test.p_value for f in found], "below 0.05: not N(0, I)"),
    ]


def _joint_rows(propositions: Propositions) -> list[Row]:
    probe, joint = propositions.content_probe, propositions.joint
    chance = f"0.5: content does not show the domain; guessing stays below {probe.chance:.2f}"
    rows: list[Row] = [("domain from content", [probe.accuracy], chance)]
    if joint is not None:
        pairs = "pairs (x_a, x_ab) and (x_ba, x_b); 0: equal"
        rows += [
            ("squared MMD of the pairs", [joint.mmd_squared], pairs),
            ("its p-value", [joint.p_value], "below 0.05: they differ"),
        ]
    return rows


def _network_rows(found: Sequence[NetworkMeasures]) -> list[Row]:
    fid, kid = [one.fid for one in found], [one.kid for one in found]
    return [
        *_distance_rows(fid, kid),
        *_diversity_rows([one.lpips for one in found]),
        *_score_rows([one.scores for one in found]),
    ]


def _distance_rows(
    fid: Sequence[FrechetDistance | None], kid: Sequence[KernelDistance | None]
) -> Iterator[Row]:
    if size := next((one.subset_size for one in kid if one), None):
        yield "FID", _each(fid, lambda one: one.value), "0: equal; higher with fewer images"
        yield "KID, times 1000", _each(kid, lambda one: 1000 * one.mean), "0: equal"
        deviations = _each(kid, lambda one: 1000 * one.deviation)
        yield "its std over subsets", deviations, f"of {size} images"


def _diversity_rows(lpips: Sequence[Diversity | None]) -> Iterator[Row]:
    if pairs := next((one.pairs for one in lpips if one), None):
        ignored = "0: styles are ignored"
        yield "LPIPS diversity", _each(lpips, lambda one: one.mean), f"{pairs} pairs; {ignored}"
        yield "of two real images", _each(lpips, lambda one: one.real), "for comparison"


def _score_rows(scores: Sequence[ClassScores | None]) -> Iterator[Row]:
    known = [one for one in scores if one]
    if known:
        limits = " and ".join(f"{math.log(one.classes):.3f}" for one in known)
        ignored = "0: styles are ignored"
        conditional = _each(scores, lambda one: one.conditional)
        yield "CIS, mean KL", conditional, f"{ignored}; at most {limits}"
        yield "IS, mean KL", _each(scores, lambda one: one.inception), f"at most {limits}"
        exp = "exp of the above"
        yield "CIS, exp", _each(scores, lambda one: one.conditional_exp), exp
        yield "IS, exp", _each(scores, lambda one: one.inception_exp), exp


def _each(found: Sequence[T | None], number: Callable[[T], float]) -> list[float | None]:
    return [None if one is None else number(one) for one in found]


def _network_cards(found: Sequence[NetworkMeasures]) -> Iterator[str]:
    """Names and hashes of the networks, each once."""
    first = found[0]
    if first.fid is not None:
        yield from _card_lines("FID, KID", first.fid.network)
    if first.lpips is not None:
        yield from _card_lines("LPIPS", first.lpips.network)
    for one in found:
        if one.scores is not None:
            yield from _card_lines(f"IS, CIS {one.direction}", one.scores.network)


def _card_lines(name: str, card: NetworkCard) -> Iterator[str]:
    yield f"{name}: {card.name}; weights: {card.version}"
    for file, digest in card.sha256.items():
        yield f"  {file} sha256 {digest}"


def _table(title: str, columns: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    width = max(len(name) for name in (title, *(row[0] for row in rows)))
    yield (f"{title:<{width}}" + "".join(f"{column:>10}" for column in columns)).rstrip()
    for name, values, note in rows:
        yield f"{name:<{width}}" + "".join(f"{_cell(value):>10}" for value in values) + f"  {note}"


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.2e}"
