"""The doctor: what munit-edge finds on this machine, what is missing or broken, and how to fix it.

`examine` gathers the facts and never raises because of what it finds; `findings` says what they
mean.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from munit_edge.doctor.declared_extras import declared_extras, normalised
from munit_edge.doctor.engine_cache import CacheFacts, look_at_cache
from munit_edge.doctor.findings import Finding, judge
from munit_edge.engines.probe import SUBJECTS, Answer, ask
from munit_edge.settings import StrictModel
from munit_edge.system.child import end_calls
from munit_edge.system.machine import Machine, look_at_machine
from munit_edge.version import __version__

NUM_ASKED_AT_ONCE = 3
"""Backends asked at the same time: importing them loads disk and processor."""

_BASE_PACKAGES = ("numpy", "pillow", "pydantic", "pyyaml", "typer")
_LOOKED_UP = re.compile(
    r"onnx.*|torch|accelerate|safetensors|tensorboard|tensorrt.*|cuda-.*|nvidia-.*|"
    + "|".join(_BASE_PACKAGES)
)


class Report(StrictModel):
    """Facts and findings; `munit-edge doctor --json` prints it."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    created: str
    """Date and time, UTC, ISO 8601."""
    munit_edge: str
    """Version of munit-edge."""
    machine: Machine
    """What is known without a backend."""
    answers: tuple[Answer, ...]
    """What the driver and the backends report."""
    packages: dict[str, str]
    """Relevant installed distributions, and their versions."""
    cache: CacheFacts
    """The cache of engines."""
    findings: tuple[Finding, ...]
    """What the facts mean."""

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The findings that need a fix."""
        return tuple(finding for finding in self.findings if finding.status == "broken")


def examine() -> Report:
    """Examine this machine; takes seconds, since every backend is imported."""
    with ThreadPoolExecutor(NUM_ASKED_AT_ONCE) as pool:
        asked = [pool.submit(ask, subject) for subject in SUBJECTS]
        try:
            machine = look_at_machine()
            answers = tuple(future.result() for future in asked)
        except BaseException:  # mainly Ctrl-C: the pool would wait for every answer
            pool.shutdown(wait=False, cancel_futures=True)
            end_calls()
            raise
    packages, cache = installed_packages(), look_at_cache()
    return Report(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        munit_edge=__version__,
        machine=machine,
        answers=answers,
        packages=packages,
        cache=cache,
        findings=tuple(judge(machine, answers, packages, declared_extras(), cache)),
    )


def installed_packages() -> dict[str, str]:
    """Versions of the relevant installed distributions, by normalised name."""
    found: dict[str, str] = {}
    brought = {name for names in declared_extras().values() for name in names}
    for distribution in importlib.metadata.distributions():
        name = normalised(distribution.metadata["Name"] or "")
        if name in brought or _LOOKED_UP.fullmatch(name):
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items()))
