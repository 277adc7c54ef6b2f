"""The page of a run, `index.html`: pictures, curves and facts, as the run's folder has them.

One file that asks nothing of any network: it opens from the disk, and shows the pictures that lie
beside it. It is made from what the run has written, so it can be made anew at any time.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from munit_edge.files.atomic import atomic_file
from munit_edge.files.names import one_line, storable
from munit_edge.model.config import DIRECTIONS, DOMAINS, split_direction
from munit_edge.trainer.checkpoint import best_checkpoint, newest_checkpoint, open_checkpoint
from munit_edge.trainer.config import HIGHER_IS_BETTER, TrainConfig
from munit_edge.trainer.config_files import dump_train_config, read_train_config
from munit_edge.trainer.run.charts import charts
from munit_edge.trainer.run.curves import Curves, read_curves
from munit_edge.trainer.run.folder import RunFolder
from munit_edge.trainer.run.record import RunRecord, Session, read_record

_TEMPLATE = Path(__file__).with_suffix(".html")
_MAX_NAMED = 50
"""Broken images that the page names."""
_QUIET_S = 300.0
"""Seconds without news after which a run that should be training is doubted."""


@dataclass(frozen=True)
class Run:
    """What a run's page is made of."""

    folder: RunFolder
    config: TrainConfig
    record: RunRecord
    curves: Curves

    @property
    def iteration(self) -> int:
        """Iterations done: a killed run may have logged more than its record has."""
        return max(self.record.iteration, self.curves.last_iteration)


def read_run(folder: RunFolder) -> Run:
    """A run as it lies on the disk.

    Raises:
        ConfigError: its configuration cannot be read.
        ModelError: its record is damaged.
    """
    return Run(
        folder,
        read_train_config(folder.config_file),
        read_record(folder.record_file),
        read_curves(folder.curve_file),
    )


def write_page(run: Run) -> Path:
    """Write the page, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    path = run.folder.page
    with atomic_file(path) as partial:
        partial.write_text(storable(run_page(run)), encoding="utf-8")
    return path


def run_page(run: Run) -> str:
    """The page as HTML."""
    session = run.record.sessions[-1] if run.record.sessions else None
    done, total = run.iteration, run.config.iterations
    state, mood = _status(session, done >= total)
    pieces = {
        "title": escape(one_line(Path(os.path.realpath(run.folder.path)).name)),
        "state": escape(session.state if session else ""),
        "updated": f"{session.updated if session else time.time():.0f}",
        "rest": f"{_QUIET_S + 3 * _seconds_between_news(run):.0f}",
        "mood": mood,
        "status": escape(state),
        "written": "" if session is None else f"written {_date(session.updated)}",
        "done": f"{done:,} of {total:,} iterations ({_percent(done, total)})",
        "percent": f"{min(100.0, 100 * done / total):.2f}",
        "tiles": "".join(_tile(*tile) for tile in _tiles(run, session)),
        "hint": _hint(run, session),
        "pictures": _pictures(run),
        "curves_note": _curves_note(run),
        "charts": _charts(run),
        "facts": "".join(_row(*fact) for fact in _facts(run, session)),
        "settings": escape(dump_train_config(run.config)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: pieces[match[1]], _template())


@cache
def _template() -> str:
    return _TEMPLATE.read_text(encoding="utf-8")


# ----------------------------------------------------------------------------------------------
# How far it is


def _status(session: Session | None, complete: bool) -> tuple[str, str]:
    """The state in words, and the colour that they take."""
    if session is None:
        return "not begun", ""
    note = f" ({session.note})" if session.note and session.state != "failed" else ""
    if session.state == "stopped" and complete:
        return "finished", "good"
    return {
        "training": ("training", ""),
        "finished": ("finished", "good"),
        "stopped": (f"stopped{note}", ""),
        "failed": ("ended with an error", "bad"),
        "killed": ("killed", "bad"),
    }[session.state]


def _tiles(run: Run, session: Session | None) -> list[tuple[str, str, str]]:
    """What, how much, and a remark."""
    tiles = []
    if session is not None:
        speed = session.images_per_second
        tiles.append(("speed", speed_words(speed), session.device))
        tiles.append(_time_left(run, session))
        tiles.append(
            ("trained for", duration(sum(s.seconds for s in run.record.sessions)), _starts(run))
        )
    tiles.append(("best checkpoint", *_best(run)))
    broken = _count(len(run.record.broken_images), "broken image")
    tiles.append(("left out", broken, _count(run.record.skipped_updates, "skipped update")))
    return tiles


def _time_left(run: Run, session: Session) -> tuple[str, str, str]:
    if session.state != "training":
        return ("ended", _date(session.updated), "")
    images = (run.config.iterations - session.iteration) * _images_per_iteration(run, session)
    left = seconds_left(images, session.images_per_second)
    if left is None:
        return ("time left", "-", "no iteration is done yet")
    return ("time left", duration(left), f"until {_date(session.updated + left)} at this speed")


def _best(run: Run) -> tuple[str, str]:
    measure = run.config.best_by
    if measure is None:
        return "-", "best_by is null: nothing is measured"
    highest = measure in HIGHER_IS_BETTER
    path = best_checkpoint(run.folder.path, measure, highest=highest)
    if path is None:
        return "-", f"none measured yet (every {run.config.checkpoint_interval:,} iterations)"
    value = open_checkpoint(path).info.measures[measure]
    return f"iteration {int(path.name):,}", f"{measure} {value:.4g}"


def _starts(run: Run) -> str:
    count = len(run.record.sessions)
    return "in one go" if count == 1 else f"in {count} sessions"


def _images_per_iteration(run: Run, session: Session) -> int:
    return len(DOMAINS) * run.config.batch_size * session.processes


def _seconds_between_news(run: Run) -> float:
    """About how long a run trains without writing its page."""
    session = run.record.sessions[-1] if run.record.sessions else None
    if session is None or not session.images_per_second:
        return 0.0
    images = _images_per_iteration(run, session) * run.config.log_interval
    return images / session.images_per_second


def _hint(run: Run, session: Session | None) -> str:
    """What went wrong, and the command that comes next."""
    path = shlex.quote(str(run.folder.path))
    if session is None or session.state == "training":
        return ""
    if session.state == "finished":
        command = f"munit-edge export onnx {path} -o MODEL"
        return f"<p>Next: <code>{escape(command)}</code></p>"
    error = f'<p class="state bad">{escape(session.note)}</p>' if session.state == "failed" else ""
    config = shlex.quote(str(run.folder.config_file))
    command = f"munit-edge train {config} -o {path} --resume"
    if session.processes > 1:
        command = "the same command and --resume"
    return f"{error}<p>Go on with <code>{escape(command)}</code></p>"


def _tile(name: str, value: str, remark: str) -> str:
    return (
        f'<div class="card"><small>{escape(name)}</small><b>{escape(value)}</b>'
        f"<small>{escape(remark)}</small></div>"
    )


# ----------------------------------------------------------------------------------------------
# Pictures and curves


def _pictures(run: Run) -> str:
    iterations = run.folder.drawn(up_to=run.iteration)
    if not iterations:
        first = min(run.config.image_interval, run.config.iterations)
        return f'<p class="faint">The first pictures come after iteration {first:,}.</p>'
    newest, last = iterations[-1], len(iterations) - 1
    controls = (
        '<div class="controls"><button id="before" aria-label="one earlier">&lt;</button>'
        f'<input id="slider" type="range" min="0" max="{last}" value="{last}" '
        f'data-iterations="{",".join(map(str, iterations))}" aria-label="iteration">'
        '<button id="after" aria-label="one later">&gt;</button>'
        f'<output id="shown">iteration {newest:,}</output></div>'
    )
    grids = "".join(_grid(run, newest, direction) for direction in DIRECTIONS)
    return f'<div class="card">{controls}{grids}{_COLUMNS}</div>'


_COLUMNS = (
    '<p class="faint"><small>Always the same images and styles. Reconstruction: the input encoded '
    "and decoded in its own domain. Cycle: there in style 1 and back in its own style. Guided: in "
    "the style of the guide, a real image of the other domain. A click opens the file; "
    "<code>images/</code> has all of them.</small></p>"
)


def _grid(run: Run, iteration: int, direction: str) -> str:
    source, target = split_direction(direction)
    file = run.folder.picture(iteration, direction).relative_to(run.folder.path).as_posix()
    return (
        f"<h3>{source} to {target}</h3>"
        f'<div class="scroll"><a href="{file}"><img src="{file}" data-direction="{direction}" '
        f'alt="Translations from {source} to {target}"></a></div>'
    )


def _charts(run: Run) -> str:
    if not run.curves.by_name:
        return ""
    found = charts(run.curves.by_name, run.config, run.iteration)
    return f'<div class="charts">{found}</div>'


def _curves_note(run: Run) -> str:
    if not run.curves.by_name:
        return f"The first numbers come after iteration {run.config.log_interval:,}."
    return (
        "Losses before their weights, over iterations. Numbers: the latest. Long runs are thinned: "
        "a line is the mean of neighbours, its band their smallest and largest. docs/training.md "
        "says how to read them; curves.jsonl has every number."
    )


# ----------------------------------------------------------------------------------------------
# Facts


def _facts(run: Run, session: Session | None) -> list[tuple[str, Sequence[str]]]:
    config, model = run.config, run.config.model
    facts: list[tuple[str, Sequence[str]]] = []
    if session is not None:
        count = f", {session.processes} processes" if session.processes > 1 else ""
        facts += [
            ("device", [session.device + count]),
            ("machine", [session.machine]),
            ("software", [session.software]),
            ("training images", [", ".join(f"{n:,} of {d}" for d, n in session.images.items())]),
        ]
    facts += [
        (
            "model",
            [f"{model.architecture}, width {model.width}, style code of {model.style_dim} numbers"],
        ),
        ("batch", [_batch(run, session)]),
        ("crop", [f"{config.data.crop_height} x {config.data.crop_width} pixels"]),
        ("newest checkpoint", [_newest(run)]),
        ("sessions", [_session(s) for s in run.record.sessions] or ["-"]),
    ]
    if run.record.broken_images:
        named = list(run.record.broken_images[:_MAX_NAMED])
        more = len(run.record.broken_images) - len(named)
        facts.append(("broken images", [*named, *([f"and {more:,} more"] if more else [])]))
    return facts


def _batch(run: Run, session: Session | None) -> str:
    size = run.config.batch_size
    if session is None or session.processes == 1:
        return f"{size} images of each domain"
    return f"{size} images of each domain in each of {session.processes} processes"


def _newest(run: Run) -> str:
    path = newest_checkpoint(run.folder.path)
    return "none yet" if path is None else path.relative_to(run.folder.path).as_posix()


def _session(session: Session) -> str:
    note = f" ({session.note})" if session.note else ""
    return (
        f"{_date(session.started)}, {duration(session.seconds)}: iterations "
        f"{session.first_iteration:,} to {session.iteration:,}, {session.state}{note}"
    )


def _row(name: str, values: Sequence[str]) -> str:
    return f"<tr><th>{escape(name)}</th><td>{'<br>'.join(map(escape, values))}</td></tr>"


def seconds_left(images: int, images_per_second: float | None) -> float | None:
    """Seconds that so many images of both domains take; None: no iteration was done."""
    return images / images_per_second if images_per_second else None


def speed_words(images_per_second: float | None) -> str:
    """Such as "8.25 images/s"; "-" where no iteration was done."""
    return f"{images_per_second:.3g} images/s" if images_per_second else "-"


def duration(seconds: float) -> str:
    """Such as "45 s", "12 min", "3 h 05 min" or "4 d 2 h"."""
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _percent(done: int, total: int) -> str:
    return f"{100 * done / total:.3g} %"
