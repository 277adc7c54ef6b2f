"""`munit-edge sample-data`: draw two domains with a known correspondence."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from munit_edge.cli.streams import write_line


def sample_data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder.")],
    size: Annotated[
        int, typer.Option(help="Height and width of the images in pixels, 16 to 1024.")
    ] = 64,
    count: Annotated[
        int,
        typer.Option(help="Training images of each domain, plus a tenth as many for testing."),
    ] = 1000,
    seed: Annotated[
        int, typer.Option(help="The same seed draws the same images, byte for byte.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing sample data in DIR.")
    ] = False,
) -> None:
    """Draw images to try munit-edge with: no download needed.

    Domain A is outlines of shapes, domain B the same kinds of shapes in colour, but unpaired. A
    model trained on them learns to colour an outline in many ways.
    """
    from munit_edge.cli.progress import progress
    from munit_edge.images.sample_data import SPLITS, num_images, write_sample_data

    with progress("drawing", sum(num_images(split, count) for split in SPLITS)) as bar:
        write_sample_data(
            folder,
            size=size,
            count=count,
            seed=seed,
            overwrite=overwrite,
            on_image=lambda: bar.advance(),
        )
    for split in SPLITS:
        what = "outlines" if split.endswith("A") else "filled shapes"
        write_line(f"{folder / split}: {num_images(split, count)} {what}, {size} x {size} pixels")
    write_line(f"{folder / 'labels.json'}: what each image shows")
    write_line(
        f"next: munit-edge train --recipe demo --data {shlex.quote(str(folder))} -o runs/first"
    )
