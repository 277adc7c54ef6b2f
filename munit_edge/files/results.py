"""The result files of a run: their names, what they may not replace, and what they depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.files.replacing import same_file


def numbered_paths(stem: Path, count: int, suffix: str) -> tuple[Path, ...]:
    """stem_00.png, stem_01.png, ...: one path for each style.

    Args:
        stem: path without number and suffix.
        count: number of results.
        suffix: with its dot.
    """
    return tuple(stem.with_name(f"{stem.name}_{index:02d}{suffix}") for index in range(count))


def refuse_to_replace_inputs(outputs: Iterable[Path], inputs: Sequence[Path]) -> None:
    """Check, before any work, that no result would replace an input.

    Raises:
        OutputError: a result is the same file as an input, or a link that leads to one.
    """
    kept = {os.path.realpath(path) for path in inputs}
    for path in outputs:
        if not os.path.lexists(path):
            continue
        # Two names of one file (hard links, bind mounts) have different real paths.
        if os.path.realpath(path) in kept or any(same_file(path, given) for given in inputs):
            raise OutputError(f"{path} is an input and would be replaced: name another output")


def several_for_one(output: Path, several: Sequence[str], fix: str) -> str:
    """Why one file is not enough, and the fix.

    Args:
        output: the file that the user named.
        several: what there are several of, such as "2 styles".
        fix: what to choose instead, such as "choose one style".
    """
    verb = "is" if several == ["a folder"] else "are"
    return (
        f"-o {output} is one file and takes one result, but there {verb} {' and '.join(several)}: "
        f"name a folder (-o {output.with_suffix('')}/), or {fix}"
    )


def settings_hash(facts: object, data: bytes = b"") -> str:
    """SHA-256 of what a result depends on: a later run with the same hash may keep the result.

    Args:
        facts: values that JSON has; the order of keys does not matter.
        data: what has no short form in JSON, such as an array's bytes.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode() + data).hexdigest()
