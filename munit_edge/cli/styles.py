"""`munit-edge styles`: reusable styles."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from munit_edge.cli.errors import reporting_errors
from munit_edge.cli.options import (
    Device,
    ExportedEngine,
    Frames,
    Interpolate,
    MaxMegapixels,
    ModelDirectory,
    ShorterSide,
    Spread,
)
from munit_edge.cli.outputs import check_files
from munit_edge.cli.parameters import checked, negated, takes
from munit_edge.cli.progress import progress
from munit_edge.cli.streams import tell, warn, write_json, write_line
from munit_edge.errors import ConfigError, InputError
from munit_edge.files.locks import writing_to
from munit_edge.text import counted

if TYPE_CHECKING:
    from munit_edge.images.folders import ImageFile
    from munit_edge.images.io import Images
    from munit_edge.model.config import Domain
    from munit_edge.styles.choose import EncodeStyle
    from munit_edge.styles.files import NamedStyle
    from munit_edge.styles.prior import PriorDistance
    from munit_edge.styles.saved import ListedFile

app = typer.Typer(
    help="Save styles under names, list, rename and delete them.", no_args_is_help=True
)

_NOTHING_TO_DRAW = "there is no style to draw: `munit-edge styles save` saves one"


@dataclass(frozen=True, kw_only=True)
class SaveParameters:
    """The options of `munit-edge styles save`, called like the fields of `SaveStyleOptions`."""

    model: ModelDirectory
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the style; several styles are called NAME_00, NAME_01, ...",
        ),
    ]
    domain: Annotated[
        Literal["a", "b"],
        typer.Option(help="Domain that the style is for: b for translations a2b."),
    ]
    seed: Annotated[
        int | None,
        typer.Option(
            help="Save a random style: the one that `munit-edge translate --seed` calls 00. With "
            "--spread, which styles are spread (default 0)."
        ),
    ] = None
    index: Annotated[
        int | None,
        typer.Option(help="Another of the seed's styles: 3 for the one called 03."),
    ] = None
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="PHOTO",
            help="Take the style from an image of the domain, or a folder of them. Can be given "
            "several times; the mean of all is saved.",
        ),
    ] = None
    spread: Spread = None
    interpolate: Interpolate = None
    frames: Frames = None
    size: ShorterSide = None
    max_megapixels: MaxMegapixels = 100.0
    thumbnail: Annotated[
        bool,
        typer.Option(
            "--no-thumbnail",
            callback=negated,
            help="Do not keep thumbnails of the images of --from in the style's file.",
        ),
    ] = False
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.json",
            help="Save to this file, several styles together.",
            show_default="MODEL/styles/NAME.json",
        ),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing styles.")] = False
    engine: ExportedEngine = "auto"
    device: Device = "auto"


@takes(SaveParameters)
def save(given: SaveParameters) -> None:
    """Save styles from a seed, from images or between two others.

    Prints the paths of the files. `munit-edge translate --style NAME` then takes them.
    """
    from munit_edge.model.manifest import read_manifest
    from munit_edge.styles.making import make_styles
    from munit_edge.styles.options import SaveStyleOptions
    from munit_edge.styles.saved import SavedStyles, check_holds_styles, refuse_replacing

    options = checked(SaveStyleOptions, given)
    saved, output = SavedStyles.of(given.model), options.output
    paths = [output] if output else [saved.path(each) for each in options.names]
    with writing_to(*paths), warnings.catch_warnings():
        if output:
            inputs = (*options.images, *map(Path, options.interpolate or ()))
            check_files({"-o": output}, overwrite=options.overwrite, inputs=inputs)
            check_holds_styles(output)
        elif not options.overwrite:
            refuse_replacing(paths)
        # Pillow's warnings about odd metadata are of no use here; damaged pixels are errors.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        config = read_manifest(given.model).model
        styles = make_styles(
            options, config, lambda: _style_encoder(given), saved, warn, _with_progress
        )
        groups = [styles] if output else [[style] for style in styles]
        for path, group in zip(paths, groups, strict=True):
            saved.write(path, options.domain, group, replace=options.overwrite)
            write_line(str(path))
    for style in styles:
        tell(f"{style.name}: {style.origin}; {_place(style)}")


@contextlib.contextmanager
def _style_encoder(given: SaveParameters) -> Iterator[EncodeStyle]:
    from munit_edge.translator import Translator

    with Translator.open(given.model, engine=given.engine, device=given.device) as translator:
        yield translator.encode_style


@dataclass(frozen=True, kw_only=True)
class ListParameters:
    """The options of `munit-edge styles list`."""

    model: ModelDirectory
    domain: Annotated[
        Literal["a", "b"] | None,
        typer.Option(help="Only styles of this domain.", show_default="both"),
    ] = None
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each file.")
    ] = False
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            help="Also draw a sheet: the reference images (or the numbers) of every style, or "
            "with --on its translation of an image. PNG, JPEG or WebP.",
        ),
    ] = None
    on: Annotated[
        Path | None,
        typer.Option(
            metavar="PHOTO",
            help="Show this image in every style on the sheet; it is of the source domain.",
        ),
    ] = None
    size: ShorterSide = None
    max_megapixels: MaxMegapixels = 100.0
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing sheet.")] = (
        False
    )
    engine: ExportedEngine = "auto"
    device: Device = "auto"


@takes(ListParameters)
def list_(given: ListParameters) -> None:
    """List saved styles, and draw a sheet of them.

    Shows the domain of each, the length of its code, how many random styles are longer, and its
    origin.
    """
    from munit_edge.images.io import ImageData, image_format, write_image
    from munit_edge.styles.saved import SavedStyles

    sheet = given.sheet
    _check_sheet_options(given)
    if sheet:
        image_format(sheet.suffix)
        inputs = (given.model, given.on)
        check_files({"--sheet": sheet}, overwrite=given.overwrite, inputs=inputs)
    saved = SavedStyles.of(given.model)
    listed = [
        entry
        for entry in saved.files()
        if not entry.file or given.domain in (None, entry.file.domain)
    ]
    if given.json_lines:
        for entry in listed:
            write_json(entry.model_dump_json())
    else:
        _print_table(listed, saved.folder)
    if sheet:
        drawn = _drawn_translations(given, listed) if given.on else _drawn_references(listed)
        write_image(sheet, ImageData(drawn), replace=given.overwrite)
        tell(f"style sheet: {sheet}")


def rename(
    model: ModelDirectory,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Saved style.")],
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="Its new name.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a style of that name.")
    ] = False,
) -> None:
    """Give a saved style another name."""
    from munit_edge.styles.saved import SavedStyles

    write_line(str(SavedStyles.of(model).rename(name, new_name, overwrite=overwrite)))


def _check_sheet_options(given: ListParameters) -> None:
    """Refuse options that have no effect."""
    for option in ("on", "size", "overwrite"):
        if getattr(given, option) and not given.sheet:
            raise ConfigError(
                f"--{option} is for a sheet: add --sheet FILE.png, or leave --{option} out"
            )
    if given.size and not given.on:
        raise ConfigError("--size is for the image of --on: add --on PHOTO, or leave --size out")


def delete(
    model: ModelDirectory,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Saved styles.")],
) -> None:
    """Delete saved styles, all of those named or none."""
    from munit_edge.styles.saved import SavedStyles

    for path in SavedStyles.of(model).delete(names):
        write_line(f"deleted {path}")


def _with_progress(files: Sequence[ImageFile]) -> Iterator[ImageFile]:
    with progress("encoding images", len(files)) as bar:
        for file in files:
            yield file
            bar.advance(note=file.path.name)


def _styles(listed: list[ListedFile]) -> Iterator[tuple[str, Domain, NamedStyle]]:
    """Name, domain and code of each usable style."""
    for entry in listed:
        if entry.file:
            for style in entry.file.styles:
                several = len(entry.file.styles) > 1
                name = f"{entry.name}: {style.name}" if several else entry.name
                yield name, entry.file.domain, style


def _print_table(listed: list[ListedFile], folder: Path) -> None:
    rows = [("name", "domain", "length", "longer", "from")]
    for name, domain, style in _styles(listed):
        distance = _distance(style)
        longer = f"{distance.norm_share:.1%}"
        origin = str(style.origin or "unknown")
        rows.append((name, domain, f"{distance.norm:.2f}", longer, origin))
    width = max(len(row[0]) for row in rows)
    for row in rows if len(rows) > 1 else ():
        first, second, length, longer, origin = row
        write_line(f"{first:<{width}}  {second:<6}  {length:>6}  {longer:>6}  {origin}")
    for entry in listed:
        if entry.unusable:
            write_line(f"{entry.name}   not used: {entry.unusable}")
    write_line(f"{counted(len(rows) - 1, 'style')} in {folder}")


def _drawn_references(listed: list[ListedFile]) -> Images:
    from munit_edge.styles.sheets import reference_sheet

    styles = _renamed(listed)
    if not styles:
        raise InputError(_NOTHING_TO_DRAW)
    return reference_sheet(styles)


def _only_domain(listed: list[ListedFile]) -> Domain:
    domains = {entry.file.domain for entry in listed if entry.file}
    if len(domains) == 2:
        raise ConfigError("styles of both domains are saved: name one with --domain")
    if not domains:
        raise InputError(_NOTHING_TO_DRAW)
    return domains.pop()


def _drawn_translations(given: ListParameters, listed: list[ListedFile]) -> Images:
    from munit_edge.styles.choose import read_one_image
    from munit_edge.styles.sheets import style_sheet
    from munit_edge.translator import Translator

    assert given.on is not None, "only then translations are drawn"
    target = _only_domain(listed)
    source: Domain = "b" if target == "a" else "a"
    styles = _renamed(listed)
    with Translator.open(given.model, engine=given.engine, device=given.device) as translator:
        image = read_one_image(
            given.on,
            translator.config.channels(source),
            size=given.size,
            max_megapixels=given.max_megapixels,
            option="--on",
        )
        content = translator.encode_content(image.pixels[None], source)
        with progress("drawing styles", len(styles)) as bar:
            return style_sheet(
                styles,
                lambda code: translator.decode(content, code, target)[0, 0],
                image,
                given.on.name,
                on_style=lambda name: bar.advance(note=name),
            )


def _renamed(listed: list[ListedFile]) -> list[NamedStyle]:
    """The usable styles, called as in the table."""
    return [style.model_copy(update={"name": name}) for name, _, style in _styles(listed)]


def _place(style: NamedStyle) -> str:
    distance = _distance(style)
    return f"length {distance.norm:.2f}, {distance.norm_share:.1%} of random styles are longer"


def _distance(style: NamedStyle) -> PriorDistance:
    import numpy as np

    from munit_edge.styles.prior import prior_distance

    return prior_distance(np.array(style.code, np.float32))


app.command("save")(reporting_errors(save))
app.command("list")(reporting_errors(list_))
app.command("rename")(reporting_errors(rename))
app.command("delete")(reporting_errors(delete))
