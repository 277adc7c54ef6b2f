"""What a run of `munit-edge translate` wants, checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from munit_edge.errors import ConfigError
from munit_edge.files.paths import is_folder
from munit_edge.images.io import ImageFormat, image_format
from munit_edge.settings import StrictModel
from munit_edge.styles.options import DEFAULT_STYLES, StyleOptions
from munit_edge.translate.tile_choice import TileWish

OnError = Literal["stop", "skip"]

STANDARD_STREAM = Path("-")
_SUFFIXES = ".png, .jpg (.jpeg) and .webp"


class TranslateOptions(StrictModel):
    """Which pictures are translated with which styles, and where the results go."""

    inputs: tuple[Path, ...] = Field(min_length=1)
    """Files and folders, or `-` alone for standard input."""
    output: Path | None = None
    """Folder of the results, or the file of the only one; None with standard input."""
    to_file: bool = False
    """Whether `output` is the file of the only result."""
    style: StyleOptions
    """The direction and the styles."""
    grid: bool = False
    """Write contact sheets too; with standard input a contact sheet instead of the result."""
    format: ImageFormat | None = None
    """File format of the results; None: as the suffix of the file says, in a folder png."""
    on_error: OnError | None = None
    """What a picture that cannot be read does; None: `skip` where an input is a folder."""
    overwrite: bool = False
    """Replace results that are there already."""
    recursive: bool = False
    """Take the folders below input folders too."""
    json_lines: bool = False
    """One JSON object for each input on standard output."""
    jobs: int | None = Field(None, ge=1)
    """Threads that read, and as many that write; None: one for each core, 8 at most."""
    resume: bool = False
    """Keep results that the folder's log says are done."""
    watch: bool = False
    """Go on with pictures that come into the input folders later."""

    tile: TileWish = "auto"
    """Cut pictures into tiles: `auto` those that memory does not hold, `off` none, a number those
    larger than so many pixels a side, which is the largest side of a tile then."""
    tile_stats: Literal["thumbnail", "exact"] = "thumbnail"
    """Where the norms' statistics of a picture in tiles come from."""

    @property
    def from_stdin(self) -> bool:
        """Whether one picture goes from standard input to standard output."""
        return self.inputs == (STANDARD_STREAM,)

    @property
    def default_styles(self) -> int:
        """Number of random styles where the user names none: 1 if only one can be written."""
        return 1 if (self.from_stdin or self.to_file) and not self.grid else DEFAULT_STYLES

    @property
    def result_format(self) -> ImageFormat:
        """File format of the results."""
        if self.to_file and self.output is not None:
            return image_format(self.output.suffix)
        return self.format or "png"

    @property
    def replaces(self) -> bool:
        """Whether results that are there may be replaced."""
        return self.overwrite or self.keeps_done

    @property
    def skips_unreadable(self) -> bool:
        """Whether a picture that cannot be read is passed over."""
        if self.on_error is None:
            return any(is_folder(path) for path in self.inputs)
        return self.on_error == "skip"

    @property
    def keeps_done(self) -> bool:
        """Whether results that an earlier run has made are kept."""
        return self.resume or self.watch

    def deciding(self) -> dict[str, object]:
        """The options that change the results, besides model, styles and the choice of tiles."""
        style = self.style
        return {"direction": style.direction, "size": style.size, "format": self.result_format}

    @field_validator("tile", mode="before")
    @classmethod
    def _check_tile(cls, tile: object) -> object:
        if isinstance(tile, str) and tile.isdecimal():
            return int(tile)
        if tile not in ("auto", "off") and not isinstance(tile, int):
            raise ValueError(
                f"--tile {tile} cannot be used: give auto, off, or pixels a side such as 1024"
            )
        return tile

    @model_validator(mode="after")
    def _check_repetition(self) -> TranslateOptions:
        if self.keeps_done and self.overwrite:
            option = "--watch" if self.watch else "--resume"
            raise ValueError(
                f"{option} keeps results that are done and --overwrite makes them again: leave one "
                "of them out"
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
                f"-o {output}: pictures are written to {_SUFFIXES} files, not to "
                f"'{output.suffix}' (of an animation the first picture is translated): name such "
                f"a file, or a folder: -o {output.with_suffix('')}/"
            ) from exc
        if self.format not in (None, suffix):
            raise ValueError(
                f"--format {self.format} and -o {output} contradict each other: leave --format out"
            )
        in_folders = {"--grid": self.grid, "--watch": self.watch, "--resume": self.resume}
        given = [option for option, is_given in in_folders.items() if is_given]
        if given:
            raise ValueError(
                f"{' and '.join(given)} is for a folder of results and -o {output} is a file: name "
                f"a folder: -o {output.with_suffix('')}/"
            )
        self.refuse_several(len(self.inputs), self.style.least_styles(self.default_styles))
        return self

    def refuse_several(self, num_inputs: int, num_styles: int) -> None:
        """Check that the one file of `to_file` holds all results.

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
                f"-o {self.output} is one file and takes one result, but there "
                f"{'is' if several == ['a folder'] else 'are'} {' and '.join(several)}: name a "
                f"folder (-o {self.output.with_suffix('')}/), or ask for one picture and one style"
            )

    @model_validator(mode="after")
    def _check_streams(self) -> TranslateOptions:
        if STANDARD_STREAM in self.inputs and len(self.inputs) > 1:
            raise ValueError("'-' stands for one picture on standard input: name no other input")
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
        given = [option for option, is_given in without_effect.items() if is_given]
        if given:
            raise ValueError(
                f"the result of '-' goes to standard output: leave out {' and '.join(given)}"
            )
        return self
