"""`munit-edge page`: rebuild the page of a run from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from munit_edge.cli.streams import write_line


def page(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)],
) -> None:
    """Rebuild RUN/index.html, the page of a training run.

    It shows image grids, curves and facts, and needs no network. Training writes it itself;
    after a run was killed, this adds what was logged last.
    """
    from munit_edge.trainer.run.folder import RunFolder
    from munit_edge.trainer.run.page import read_snapshot, write_page

    folder = RunFolder(run)
    folder.check_is_run()
    write_line(str(write_page(read_snapshot(folder))))
