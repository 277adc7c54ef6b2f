"""The files that a run reads and writes: every name is decided before any work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from munit_edge.errors import OutputError
from munit_edge.files.atomic import make_folder
from munit_edge.files.results import numbered_paths, refuse_to_replace_inputs
from munit_edge.files.system_errors import output_errors
from munit_edge.images.folders import ImageFile
from munit_edge.translate.log import LOG_FILE
from munit_edge.translate.options import TranslateOptions
from munit_edge.translate.sheets import SHEET_ROWS

_USUAL_LIMITS = {"PC_NAME_MAX": 255, "PC_PATH_MAX": 4096}
_SHOWN_NAME = 60
"""Characters of a name in a message about its length."""
SHEET_NAME = "contact_sheet"
"""Beginning of the names of contact sheets."""


@dataclass(frozen=True)
class Planned:
    """One input and the files that its results go to."""

    path: Path
    outputs: tuple[Path, ...]
    """One for each style: stem_00.png, stem_01.png, ..."""
    fault: str | None = None
    """Why they cannot be written, as a whole sentence; None: they can."""


@dataclass(frozen=True)
class Plan:
    """Everything that will be read and written."""

    inputs: tuple[Planned, ...]
    sheets: tuple[Path, ...]
    """contact_sheet.png, contact_sheet-2.png, ...; empty without a grid."""


def plan_results(files: Sequence[ImageFile], num_styles: int, options: TranslateOptions) -> Plan:
    """Decide every name before any work, and create the folder `options.output`.

    No two results can share a name: stems differ, each result ends in its style's number, and the
    name of a contact sheet does not.

    Raises:
        OutputError: a result exists already or would replace an input, there are several for one
            file, or the folder cannot be created.
    """
    assert options.output is not None, "without it the result goes to standard output"
    if options.to_file:
        inputs, folder = (
            _one_file(options.output, files, num_styles, options),
            options.output.parent,
        )
    else:
        folder, suffix = options.output, f".{options.result_format}"
        inputs = tuple(
            Planned(file.path, numbered_paths(folder / file.stem, num_styles, suffix))
            for file in files
        )
    # Rounded up: the last sheet may have fewer rows.
    num_sheets = -(-len(files) // SHEET_ROWS) if options.grid else 0
    numbers = ("" if page == 1 else f"-{page}" for page in range(1, num_sheets + 1))
    sheets = tuple(folder / f"{SHEET_NAME}{number}.{options.result_format}" for number in numbers)
    # Checked together and before the folder is made: a refused run leaves nothing behind.
    outputs = [*(path for planned in inputs for path in planned.outputs), *sheets]
    read = [*(file.path for file in files), *options.style.style_images]
    refuse_to_replace_inputs(outputs, read)
    if not options.overwrite:
        _refuse_to_replace_results(outputs, folder, options.keeps_done)
    make_folder(folder)
    # Asked of the folder itself: encrypted and network file systems allow less than 255 bytes.
    limits = _limit(folder, "PC_NAME_MAX"), _limit(folder, "PC_PATH_MAX")
    return Plan(tuple(_with_fault(planned, folder, limits) for planned in inputs), sheets)


def _with_fault(planned: Planned, folder: Path, limits: tuple[int, int]) -> Planned:
    """Add the fault of the results' names, if there is one.

    Args:
        planned: an input.
        folder: folder of the results.
        limits: bytes that its file system allows for a name, and for a path.
    """
    for path in planned.outputs:
        parts = path.relative_to(folder).parts
        long, whole = max(len(os.fsencode(p)) for p in parts), len(os.fsencode(path.absolute()))
        # PC_PATH_MAX counts the final NUL, PC_NAME_MAX does not.
        if long > limits[0] or whole >= limits[1]:
            what = "name" if long > limits[0] else "path"
            needed, allowed = (long, limits[0]) if long > limits[0] else (whole, limits[1] - 1)
            name = planned.path.name
            shown = name if len(name) <= _SHOWN_NAME else f"{name[:_SHOWN_NAME]}..."
            fault = (
                f"{planned.path.parent / shown} would have results with too long a {what} "
                f"({needed} bytes, and {folder} takes {allowed}): shorten its name"
            )
            return replace(planned, fault=fault)
    return planned


def _limit(folder: Path, name: str) -> int:
    """Bytes that the file system of a folder allows for a name, or for a path."""
    try:
        return os.pathconf(folder, name)
    except (OSError, ValueError):  # it is unknown
        return _USUAL_LIMITS[name]


def _one_file(
    output: Path, files: Sequence[ImageFile], num_styles: int, options: TranslateOptions
) -> tuple[Planned, ...]:
    try:
        options.refuse_several(len(files), num_styles)
    except ValueError as exc:
        raise OutputError(str(exc)) from exc
    # `refuse_several` has left one file at most.
    return tuple(Planned(file.path, (output,)) for file in files)


def _refuse_to_replace_results(outputs: Sequence[Path], folder: Path, keep: bool) -> None:
    """With `keep`, results are replaced if a log shows that an earlier run wrote here."""
    with output_errors(folder):
        has_log = (folder / LOG_FILE).is_file()
    existing = [path for path in outputs if os.path.lexists(path)]
    if not existing or (keep and has_log):
        return
    more = f" and {len(existing) - 1} more results exist" if len(existing) > 1 else " exists"
    if keep:
        # Without a log nothing shows that these files are results: --resume must not overwrite a
        # stranger's files.
        fix = f"no {LOG_FILE} records how it was made: name another folder or pass --overwrite"
    elif has_log:
        fix = "name another folder, or pass --resume to keep finished results, or --overwrite"
    else:
        fix = "name another folder or pass --overwrite"
    raise OutputError(f"{existing[0]}{more} already: {fix}")
