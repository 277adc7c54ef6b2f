"""Which curves of a run stand together in one chart, and what to look for in each.

Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from munit_edge.trainer.config import HIGHER_IS_BETTER, LossConfig, TrainConfig
from munit_edge.trainer.run.chart import Level, Series, chart, short
from munit_edge.trainer.run.curves import Curve

NO_STYLE = math.sqrt(2 / math.pi)
"""Mean absolute value of N(0, 1): the style reconstruction loss of saying 0 for every style."""

_ENDS = {"a": "a", "b": "b", "a2b": "a2b", "b2a": "b2a"}
_ROLES = ("generators", "discriminators")


@dataclass(frozen=True)
class _Kind:
    """What stands beside the curves of one kind."""

    title: str
    hint: str
    level: Level | None = None


def charts(curves: Mapping[str, Curve], config: TrainConfig, last_iteration: int) -> str:
    """All charts of a run as HTML, the most telling first.

    Args:
        curves: by the names of `curves.jsonl`.
        config: the run's.
        last_iteration: the right end of every chart.
    """
    kinds = _kinds(config.loss, config.model.discriminator.num_scales)
    groups = _groups(curves)
    order = {key: number for number, key in enumerate(kinds)}
    keys = sorted(groups, key=lambda key: (order.get(key, len(order)), key))
    return "".join(
        _figure(kinds.get(key) or _unknown(key), groups[key], last_iteration) for key in keys
    )


def undecided_losses(loss: LossConfig, num_scales: int) -> tuple[float, float]:
    """The GAN losses of discriminators that cannot tell real images from translations.

    Returns:
        The loss of one discriminator and that of the generators against it, before the weight.
    """
    scale_d, scale_g = {
        "lsgan": (0.5, 0.25),  # both answer 1/2
        "nsgan": (2 * math.log(2), math.log(2)),  # both answer with a logit of 0
        "hinge": (2.0, 0.0),  # both answer 0
    }[loss.gan]
    factor = float(num_scales)
    if loss.gan_convention == "improved":
        factor = 0.5 if loss.gan == "lsgan" else 1.0
    return scale_d * factor, scale_g * factor


def _kinds(loss: LossConfig, num_scales: int) -> dict[str, _Kind]:
    """The known kinds of curves, in the order of their charts."""
    of_d, of_g = undecided_losses(loss, num_scales)
    return {
        "measure/reconstruction": _Kind(
            "Measure: reconstruction",
            "Image, style and content found again on the images of the grids, at each checkpoint. "
            "Lower is better.",
        ),
        "loss/discriminator": _Kind(
            "Discriminators",
            "Below the dashed line they tell real from translated. Healthy: not far below it, "
            "unsteady. Near 0 for long: they have won, and generators learn little.",
            Level("cannot tell", of_d),
        ),
        "loss/gan": _Kind(
            "Generators against them",
            "The other side: at the dashed line translations pass for real. Rising for long: they "
            "convince less and less.",
            Level("pass for real", of_g),
        ),
        "loss/image": _Kind(
            "Image reconstruction",
            "A picture against itself, encoded and decoded; 2 is black against white. Falls fast, "
            "then slowly.",
        ),
        "loss/style": _Kind(
            "Style reconstruction",
            "Falls below the dashed line as styles come to show in translations. At it: styles are "
            "ignored. A domain that has no styles stays there.",
            Level("no style", NO_STYLE),
        ),
        "loss/content": _Kind(
            "Content reconstruction",
            "The content of a translation against its input's. Falls; its height means nothing by "
            "itself.",
        ),
        "loss/cycle": _Kind("Cycle", "A picture there and back, with its own style. Falls."),
        "loss/perceptual": _Kind(
            "Perceptual", "Features of a translation against its input's. Falls, then stays."
        ),
        "loss/r1": _Kind(
            "R1 penalty", "The discriminators' slope on real pictures. Rising: they overfit."
        ),
        "total": _Kind("Weighted sums", "What the two optimisers minimise."),
        "gradient_norm": _Kind(
            "Gradient norms", "Over all parameters together. Leaps announce that training diverges."
        ),
        "learning_rate": _Kind("Learning rates", "As the schedule says."),
    }


def _unknown(key: str) -> _Kind:
    section, _, name = key.rpartition("/")
    title = f"{section}: {name}".removeprefix(": ").replace("_", " ")
    hint = ""
    if section == "measure":
        better = "Higher" if name in HIGHER_IS_BETTER else "Lower"
        hint = f"On the test images, at each checkpoint. {better} is better."
    return _Kind(title[:1].upper() + title[1:], hint)


def _groups(curves: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Curves by chart, and in each by label."""
    groups: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        key, label = _place(name)
        groups.setdefault(key, {})[label] = curve
    return {key: dict(sorted(group.items())) for key, group in groups.items()}


def _place(name: str) -> tuple[str, str]:
    """The chart and the label of a curve: loss/gan_a -> loss/gan, a."""
    section, _, rest = name.partition("/")
    if rest in _ROLES:
        return section, rest
    if rest.endswith("_total"):
        return "total", f"{rest.removesuffix('_total')}s"
    stem, _, end = rest.rpartition("_")
    if stem and end in _ENDS:
        return f"{section}/{stem}", _ENDS[end]
    return name, ""


def _figure(kind: _Kind, group: Mapping[str, Curve], last_iteration: int) -> str:
    series = [Series(label, curve.points) for label, curve in group.items()]
    legend = [
        f'<span><i class="s{number % 2}"></i>{escape(label)} {curve.latest:.3g}</span>'
        for number, (label, curve) in enumerate(group.items())
    ]
    if kind.level is not None:
        text = f"{kind.level.label}: {short(float(f'{kind.level.value:.3g}'))}"
        legend.append(f'<span><i class="level"></i>{escape(text)}</span>')
    hint = f"<p>{escape(kind.hint)}</p>" if kind.hint else ""
    return (
        f'<figure class="card chart"><h3>{escape(kind.title)}</h3>'
        f'<div class="legend">{"".join(legend)}</div>'
        f"{chart(kind.title, series, last_iteration, kind.level)}{hint}</figure>"
    )
