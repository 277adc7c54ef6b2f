"""The page of a run, `index.html`: its grids, curves and facts.

One file without network access: it opens from the disk and shows the images beside it. It is made
from what the run has written, so that it can be regenerated at any time.
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
"""Broken images that the page lists."""
_QUIET_S = 300.0
"""Seconds without an update after which the page doubts that the run is still training."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a run that its page shows."""

    folder: RunFolder
    config: TrainConfig
    record: RunRecord
    curves: Curves

    @property
    def iteration(self) -> int:
        """Iterations done: a killed run may have logged more than its record says."""
        return max(self.record.iteration, self.curves.last_iteration)


def read_snapshot(folder: RunFolder) -> Snapshot:
    """The state of a run on the disk.

    Raises:
        ConfigError: its configuration cannot be read.
        ModelError: its record is damaged.
    """
    return Snapshot(
        folder,
        read_train_config(folder.config_file),
        read_record(folder.record_file),
        read_curves(folder.curve_file),
    )


def write_page(run: Snapshot) -> Path:
    """Write the page atomically.

    Raises:
        OutputError: it cannot be written.
    """
    path = run.folder.page
    with atomic_file(path) as partial:
        partial.write_text(storable(page_html(run)), encoding="utf-8")
    return path


def page_html(run: Snapshot) -> str:
    """The page as HTML."""
    session = run.record.sessions[-1] if run.record.sessions else None
    done, total = run.iteration, run.config.iterations
    state, mood = _status(session, done >= total)
    pieces = {
        "title": escape(one_line(Path(os.path.realpath(run.folder.path)).name)),
        "state": escape(session.state if session else ""),
        "updated": f"{session.updated if session else time.time():.0f}",
        # For the page's script: seconds without news after which it doubts the state.
        "rest": f"{_QUIET_S + 3 * _seconds_between_news(run):.0f}",
        "mood": mood,
        "status": escape(state),
        "written": "" if session is None else f"written {_date(session.updated)}",
        "done": f"{done:,} of {total:,} iterations ({_percent(done, total)})",
        "percent": f"{min(100.0, 100 * done / total):.2f}",
        "tiles": "".join(_tile(*tile) for tile in _tiles(run, session)),
        "hint": _hint(run, session),
        "grids": _grids(run),
        "curves_note": _curves_note(run),
        "charts": _charts(run),
        "facts": "".join(_row(*fact) for fact in _facts(run, session)),
        "settings": escape(dump_train_config(run.config)),
    }
    # In one pass: what a user named "{{...}}" is not replaced again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: pieces[match[1]], _template())


@cache
def _template() -> str:
    return _TEMPLATE.read_text(encoding="utf-8")


# ----------------------------------------------------------------------------------------------
# Progress


def _status(session: Session | None, complete: bool) -> tuple[str, str]:
    """The state in words, and the class of its colour."""
    if session is None:
        return "not started", ""
    note = f" ({session.note})" if session.note and session.state != "failed" else ""
    if session.state == "stopped" and complete:  # the signal came in the last iteration
        return "finished", "good"
    return {
        "training": ("training", ""),
        "finished": ("finished", "good"),
        "stopped": (f"stopped{note}", ""),
        "failed": ("ended with an error", "bad"),
        "killed": ("killed", "bad"),
    }[session.state]


def _tiles(run: Snapshot, session: Session | None) -> list[tuple[str, str, str]]:
    """Name, value and remark of each tile."""
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
    tiles.append(("skipped", broken, _count(run.record.skipped_updates, "skipped update")))
    return tiles


def _time_left(run: Snapshot, session: Session) -> tuple[str, str, str]:
    if session.state != "training":
        return ("ended", _date(session.updated), "")
    images = (run.config.iterations - session.iteration) * _images_per_iteration(run, session)
    left = seconds_left(images, session.images_per_second)
    if left is None:
        return ("time left", "-", "no iteration has finished yet")
    return ("time left", duration(left), f"until {_date(session.updated + left)} at this speed")


def _best(run: Snapshot) -> tuple[str, str]:
    measure = run.config.best_by
    if measure is None:
        return "-", "best_by is null: nothing is measured"
    highest = measure in HIGHER_IS_BETTER
    path = best_checkpoint(run.folder.path, measure, highest=highest)
    if path is None:
        return "-", f"none measured yet (every {run.config.checkpoint_interval:,} iterations)"
    value = open_checkpoint(path).info.measures[measure]
    return f"iteration {int(path.name):,}", f"{measure} {value:.4g}"


def _starts(run: Snapshot) -> str:
    count = len(run.record.sessions)
    return "in one go" if count == 1 else f"in {count} sessions"


def _images_per_iteration(run: Snapshot, session: Session) -> int:
    return len(DOMAINS) * run.config.batch_size * session.processes


def _seconds_between_news(run: Snapshot) -> float:
    """About how long a run trains between two updates of its page."""
    session = run.record.sessions[-1] if run.record.sessions else None
    if session is None or not session.images_per_second:
        return 0.0
    images = _images_per_iteration(run, session) * run.config.log_interval
    return images / session.images_per_second


def _hint(run: Snapshot, session: Session | None) -> str:
    """What went wrong, and the next command."""
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
        command = "the same command with --resume"
    return f"{error}<p>Continue with <code>{escape(command)}</code></p>"


def _tile(name: str, value: str, remark: str) -> str:
    return (
        f'<div class="card"><small>{escape(name)}</small><b>{escape(value)}</b>'
        f"<small>{escape(remark)}</small></div>"
    )


# ----------------------------------------------------------------------------------------------
# Grids and curves


def _grids(run: Snapshot) -> str:
    iterations = run.folder.drawn(up_to=run.iteration)
    if not iterations:
        first = min(run.config.image_interval, run.config.iterations)
        return f'<p class="faint">The first grids are drawn after iteration {first:,}.</p>'
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
    '<p class="faint"><small>All grids show the same images and styles. Reconstruction: the input '
    "encoded and decoded in its own domain. Cycle: translated in style 1 and back in its own "
    "style. Guided: in the style of the guide, a real image of the other domain. Click to open the "
    "file; <code>images/</code> holds all grids.</small></p>"
)


def _grid(run: Snapshot, iteration: int, direction: str) -> str:
    source, target = split_direction(direction)
    file = run.folder.grid(iteration, direction).relative_to(run.folder.path).as_posix()
    return (
        f"<h3>{source} to {target}</h3>"
        f'<div class="scroll"><a href="{file}"><img src="{file}" data-direction="{direction}" '
        f'alt="Translations from {source} to {target}"></a></div>'
    )


def _charts(run: Snapshot) -> str:
    if not run.curves.by_name:
        return ""
    found = charts(run.curves.by_name, run.config, run.iteration)
    return f'<div class="charts">{found}</div>'


def _curves_note(run: Snapshot) -> str:
    if not run.curves.by_name:
        return f"The first values are logged after iteration {run.config.log_interval:,}."
    return (
        "Unweighted losses over iterations, with the latest values. Curves of long runs are "
        "thinned: a line shows the mean of neighbours, its band their minimum and maximum. "
        "docs/training.md explains how to read them; curves.jsonl holds every value."
    )


# ----------------------------------------------------------------------------------------------
# Facts


def _facts(run: Snapshot, session: Session | None) -> list[tuple[str, Sequence[str]]]:
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


def _batch(run: Snapshot, session: Session | None) -> str:
    size = run.config.batch_size
    if session is None or session.processes == 1:
        return f"{size} images of each domain"
    return f"{size} images of each domain in each of {session.processes} processes"


def _newest(run: Snapshot) -> str:
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
    """Seconds for `images` images of both domains; None: the speed is not known yet."""
    return images / images_per_second if images_per_second else None


def speed_words(images_per_second: float | None) -> str:
    """Such as "8.25 images/s"; "-" if the speed is not known yet."""
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
