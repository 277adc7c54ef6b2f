"""The charts of a run: which curves share one, and what to look for in each.

Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from munit_edge.trainer.config import HIGHER_IS_BETTER, LossConfig, TrainConfig
from munit_edge.trainer.run.chart import Level, Series, chart
from munit_edge.trainer.run.curves import Curve

NO_STYLE = math.sqrt(2 / math.pi)
"""Mean absolute value of N(0, 1): the style reconstruction loss of predicting 0 for every style."""

_ENDS = ("a", "b", "a2b", "b2a")
_ROLES = ("generators", "discriminators")


@dataclass(frozen=True)
class _Kind:
    """Title, hint and reference level of one kind of curve."""

    title: str
    hint: str
    level: Level | None = None


def charts(curves: Mapping[str, Curve], config: TrainConfig, last_iteration: int) -> str:
    """All charts of a run as HTML, the most informative first.

    Args:
        curves: by the names in `curves.jsonl`.
        config: the run's configuration.
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
    """The GAN losses of discriminators that cannot distinguish real images from translations.

    Returns:
        The loss of one discriminator and that of the generators against it, unweighted.
    """
    scale_d, scale_g = {
        "lsgan": (0.5, 0.25),  # the output is always 1/2
        "nsgan": (2 * math.log(2), math.log(2)),  # the logit is always 0
        "hinge": (2.0, 0.0),  # the output is always 0
    }[loss.gan]
    # The paper's convention sums over scales; the improved one takes their mean, for least squares
    # halved.
    factor = float(num_scales)
    if loss.gan_convention == "improved":
        factor = 0.5 if loss.gan == "lsgan" else 1.0
    return scale_d * factor, scale_g * factor


def _kinds(loss: LossConfig, num_scales: int) -> dict[str, _Kind]:
    """The known kinds of curves, in the order of their charts; others are titled by name."""
    of_d, of_g = undecided_losses(loss, num_scales)
    return {
        "measure/reconstruction": _Kind(
            "Measure: reconstruction",
            "Errors of image, style and content on the images of the grids, at each checkpoint. "
            "Lower is better.",
        ),
        "loss/discriminator": _Kind(
            "Discriminators",
            "Below the dashed line they distinguish real images from translations. Healthy: not "
            "far below it, unsteady. Near 0 for long: they have won, and the generators learn "
            "little.",
            Level("undecided", of_d),
        ),
        "loss/gan": _Kind(
            "Generators against them",
            "At the dashed line translations look real to the discriminators. Rising for long: "
            "they look less and less real.",
            Level("undecided", of_g),
        ),
        "loss/image": _Kind(
            "Image reconstruction",
            "An image against its reconstruction; 2 is black against white. Falls fast, then "
            "slowly.",
        ),
        "loss/style": _Kind(
            "Style reconstruction",
            "Falls below the dashed line as translations begin to show styles. At the line: styles "
            "are ignored. A domain without styles stays there.",
            Level("no style", NO_STYLE),
        ),
        "loss/content": _Kind(
            "Content reconstruction",
            "The content of a translation against its input's. Falls; the absolute value means "
            "nothing.",
        ),
        "loss/cycle": _Kind("Cycle", "An image translated and back, with its own style. Falls."),
        "loss/perceptual": _Kind(
            "Perceptual", "Features of a translation against its input's. Falls, then flattens."
        ),
        "loss/r1": _Kind(
            "R1 penalty",
            "The discriminators' squared gradient on real images. Rising: they overfit.",
        ),
        "total": _Kind("Weighted sums", "What the two optimisers minimise."),
        "gradient_norm": _Kind(
            "Gradient norms", "Over all parameters together. Jumps precede divergence."
        ),
        "learning_rate": _Kind("Learning rates", "As scheduled."),
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
    """Curves by chart, then by label."""
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
    # Only a known end is a label: "style_use" is one name.
    stem, _, end = rest.rpartition("_")
    if stem and end in _ENDS:
        return f"{section}/{stem}", end
    return name, ""


def _figure(kind: _Kind, group: Mapping[str, Curve], last_iteration: int) -> str:
    series = [Series(label, curve.points) for label, curve in group.items()]
    legend = [
        f'<span><i class="s{number % 2}"></i>{escape(label)} {curve.latest:.3g}</span>'
        for number, (label, curve) in enumerate(group.items())
    ]
    if kind.level is not None:
        text = f"{kind.level.label}: {kind.level.value:.3g}"
        legend.append(f'<span><i class="level"></i>{escape(text)}</span>')
    hint = f"<p>{escape(kind.hint)}</p>" if kind.hint else ""
    return (
        f'<figure class="card chart"><h3>{escape(kind.title)}</h3>'
        f'<div class="legend">{"".join(legend)}</div>'
        f"{chart(kind.title, series, last_iteration, kind.level)}{hint}</figure>"
    )
