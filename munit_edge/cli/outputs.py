"""The files that options such as --json and --plot name, checked before the work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from munit_edge.errors import ConfigError


def check_files(
    files: Mapping[str, Path | None], *, overwrite: bool, inputs: Iterable[Path | None]
) -> None:
    """Check that the files named by options may be written.

    Args:
        files: by option, such as "--plot"; None: it was not given.
        overwrite: whether --overwrite was given.
        inputs: files and folders that the command reads; None: it was not given.

    Raises:
        ConfigError: two options name one file, or --overwrite has nothing to replace.
        OutputError: a file exists already, is an input or lies in one, or is not a regular file.
    """
    from munit_edge.files.replacing import check_file

    given = {option: path for option, path in files.items() if path is not None}
    if overwrite and not given:
        raise ConfigError(f"--overwrite is for {' and '.join(files)}: leave it out")
    if len({path.resolve() for path in given.values()}) < len(given):
        raise ConfigError(f"{' and '.join(given)} name one file: name two")
    read = [path for path in inputs if path is not None]
    for path in given.values():
        check_file(path, overwrite=overwrite, inputs=read)
