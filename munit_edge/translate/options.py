"""The options of `munit-edge translate` on images, checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from munit_edge.errors import ConfigError
from munit_edge.files.paths import is_folder
from munit_edge.files.results import several_for_one
from munit_edge.images.io import ImageFormat, image_format
from munit_edge.settings import StrictModel, given_options
from munit_edge.styles.options import DEFAULT_STYLES, StyleOptions
from munit_edge.translate.tiling import TileOption

OnError = Literal["stop", "skip"]

STANDARD_STREAM = Path("-")
_SUFFIXES = ".png, .jpg (.jpeg) and .webp"


class TranslateOptions(StrictModel):
    """Which images are translated with which styles, and where the results go."""

    inputs: tuple[Path, ...] = Field(min_length=1)
    """Files and folders, or `-` alone for standard input."""
    output: Path | None = None
    """Folder of the results, or the file of the only one; None with standard input."""
    to_file: bool = False
    """Whether `output` is the file of the only result."""
    style: StyleOptions
    """The direction and the styles."""
    grid: bool = False
    """Also write contact sheets; with standard input, a contact sheet instead of the result."""
    format: ImageFormat | None = None
    """File format of the results; None: that of the file's suffix, png in a folder."""
    on_error: OnError | None = None
    """What to do if an image cannot be read; None: `skip` if an input is a folder, else `stop`."""
    overwrite: bool = False
    """Replace existing results."""
    recursive: bool = False
    """Include the subfolders of input folders."""
    json_lines: bool = False
    """One JSON object for each input on standard output."""
    jobs: int | None = Field(None, ge=1)
    """Threads that read, and as many that write; None: one for each core, 8 at most."""
    resume: bool = False
    """Keep results that the folder's log records as done."""
    watch: bool = False
    """Keep running and translate images added to the input folders."""

    tile: TileOption = "auto"
    """Which images are cut into tiles: `auto`: those that do not fit in memory; `off`: none; a
    number: those larger than this many pixels a side, into tiles of at most that size."""
    tile_stats: Literal["thumbnail", "exact"] = "thumbnail"
    """Source of the norms' statistics for an image in tiles."""

    @property
    def from_stdin(self) -> bool:
        """Whether an image is read from standard input and written to standard output."""
        return self.inputs == (STANDARD_STREAM,)

    @property
    def default_styles(self) -> int:
        """Number of random styles if the user does not say: 1 if only one can be written."""
        return 1 if (self.from_stdin or self.to_file) and not self.grid else DEFAULT_STYLES

    @property
    def result_format(self) -> ImageFormat:
        """File format of the results."""
        if self.to_file and self.output is not None:
            return image_format(self.output.suffix)
        return self.format or "png"

    @property
    def replaces(self) -> bool:
        """Whether existing results may be replaced."""
        return self.overwrite or self.keeps_done

    @property
    def skips_unreadable(self) -> bool:
        """Whether an image that cannot be read is skipped."""
        if self.on_error is None:
            return any(is_folder(path) for path in self.inputs)
        return self.on_error == "skip"

    @property
    def keeps_done(self) -> bool:
        """Whether results of an earlier run are kept."""
        return self.resume or self.watch

    def deciding(self) -> dict[str, object]:
        """The options that change the results, other than model, styles and tiles."""
        style = self.style
        return {"direction": style.direction, "size": style.size, "format": self.result_format}

    @field_validator("tile", mode="before")
    @classmethod
    def _check_tile(cls, tile: object) -> object:
        if isinstance(tile, str) and tile.isdecimal():
            return int(tile)
        if tile not in ("auto", "off") and not isinstance(tile, int):
            raise ValueError(
                f"--tile {tile} cannot be used: pass auto, off, or pixels a side such as 1024"
            )
        return tile

    @model_validator(mode="after")
    def _check_repetition(self) -> TranslateOptions:
        if self.keeps_done and self.overwrite:
            option = "--watch" if self.watch else "--resume"
            raise ValueError(
                f"{option} keeps finished results and --overwrite makes them again: leave one of "
                "them out"
            )
        if self.watch and self.grid:
            raise ValueError("--grid needs to know all inputs: leave it out with --watch")
        return self

    @model_validator(mode="after")
    def _check_file(self) -> TranslateOptions:
        if not self.to_file or self.from_stdin:
            return self
        assert self.output is not None
        output = self.output
        try:
            suffix = image_format(output.suffix)
        except ConfigError as exc:
            raise ValueError(
                f"-o {output}: images are written to {_SUFFIXES} files, not to "
                f"'{output.suffix}' (only the first frame of an animation is translated): name "
                f"such a file, or a folder: -o {output.with_suffix('')}/"
            ) from exc
        if self.format not in (None, suffix):
            raise ValueError(
                f"--format {self.format} and -o {output} contradict each other: leave --format out"
            )
        in_folders = {"--grid": self.grid, "--watch": self.watch, "--resume": self.resume}
        if given := given_options(in_folders):
            raise ValueError(
                f"{given} is for a folder of results and -o {output} is a file: name "
                f"a folder: -o {output.with_suffix('')}/"
            )
        self.refuse_several(len(self.inputs), self.style.least_styles(self.default_styles))
        return self

    def refuse_several(self, num_inputs: int, num_styles: int) -> None:
        """Check that the one file of `to_file` is enough for the results.

        Raises:
            ValueError: there are several.
        """
        if not self.to_file or self.output is None:
            return
        several = [
            *(["a folder"] if any(path.is_dir() for path in self.inputs) else []),
            *([f"{num_inputs} inputs"] if num_inputs > 1 else []),
            *([f"{num_styles} styles"] if num_styles > 1 else []),
        ]
        if several:
            raise ValueError(
                several_for_one(self.output, several, "choose one image and one style")
            )

    @model_validator(mode="after")
    def _check_streams(self) -> TranslateOptions:
        if STANDARD_STREAM in self.inputs and len(self.inputs) > 1:
            raise ValueError("'-' stands for one image on standard input: name no other input")
        if not self.from_stdin:
            if self.output is None:
                raise ValueError("-o is missing: name a folder for the results")
            if self.output == STANDARD_STREAM:
                raise ValueError(
                    "-o - is standard output, which takes the result of the input '-': name a "
                    "folder or a file"
                )
            return self
        without_effect = {
            "-o": self.output is not None,
            "--json": self.json_lines,
            "--overwrite": self.overwrite,
            "--recursive": self.recursive,
            "--on-error": self.on_error is not None,
            "--jobs": self.jobs is not None,
            "--resume": self.resume,
            "--watch": self.watch,
        }
        if given := given_options(without_effect):
            raise ValueError(f"the result of '-' goes to standard output: leave out {given}")
        return self
