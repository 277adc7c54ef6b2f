"""`munit-edge styles`: style codes that can be found again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from munit_edge.cli.errors import reporting_errors
from munit_edge.cli.outputs import check_files
from munit_edge.cli.progress import progress
from munit_edge.cli.streams import tell, warn, write_json, write_line
from munit_edge.errors import ConfigError, InputError
from munit_edge.files.locks import writing_to

if TYPE_CHECKING:
    from munit_edge.images.folders import ImageFile
    from munit_edge.images.io import Picture
    from munit_edge.model.config import Domain
    from munit_edge.styles.files import NamedStyle
    from munit_edge.styles.prior import PriorDistance
    from munit_edge.styles.saved import ListedFile
    from munit_edge.translator import Translator

app = typer.Typer(
    help="Save styles under names, list, rename and delete them.", no_args_is_help=True
)

_NOTHING_TO_DRAW = "there is no style to draw: `munit-edge styles save` saves one"

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Model directory of `munit-edge export`.")
]
Engine = Annotated[
    Literal["auto", "onnxruntime", "tensorrt", "tensorrt-rtx"],
    typer.Option(help="What runs the model, as in `munit-edge translate`."),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N. Only auto chooses by itself.")
]
Size = Annotated[
    Optional[int],  # noqa: UP045 - Typer reads it on Python 3.10
    typer.Option(
        help="Resize the shorter side of pictures to this many pixels.", show_default="as they are"
    ),
]
MaxMegapixels = Annotated[
    float, typer.Option(help="Refuse larger pictures before decoding them (million pixels).")
]


def save(
    model: Model,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the style; of several, NAME_00, NAME_01, ... are made."
        ),
    ],
    domain: Annotated[
        Literal["a", "b"],
        typer.Option(help="Domain that the style is for: b for translations a2b."),
    ],
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Save a random style: the one that `munit-edge translate --seed` calls 00. With "
            "--spread, which styles are spread (default 0)."
        ),
    ] = None,
    index: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Another of the seed's styles: 3 for the one called 03."),
    ] = None,
    pictures: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            "--from",
            metavar="PHOTO",
            help="Take the style from a picture of the domain, or a folder of them; can be given "
            "again. The mean of all is saved.",
        ),
    ] = None,
    spread: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="Save N random styles that lie well apart."),
    ] = None,
    interpolate: Annotated[
        Optional[tuple[str, str]],  # noqa: UP045
        typer.Option(
            metavar="FROM TO",
            help="Save styles on the way between two, each a saved style's NAME or FILE, or a "
            "seed.",
        ),
    ] = None,
    frames: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="How many styles --interpolate gives, both ends included.", show_default="8"
        ),
    ] = None,
    size: Size = None,
    max_megapixels: MaxMegapixels = 100.0,
    no_thumbnail: Annotated[
        bool,
        typer.Option(
            "--no-thumbnail",
            help="Do not keep the pictures of --from, very small, in the style's file.",
        ),
    ] = False,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.json",
            help="Save to this file, several styles together.",
            show_default="MODEL/styles/NAME.json",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace styles that are there already.")
    ] = False,
    engine: Engine = "auto",
    device: Device = "auto",
) -> None:
    """Save styles from a seed, from pictures or between two.

    Prints the paths of the files. `munit-edge translate --style NAME` then takes them.
    """
    from munit_edge.settings import validate_options
    from munit_edge.styles.making import make_styles
    from munit_edge.styles.options import SaveStyleOptions
    from munit_edge.styles.saved import SavedStyles, check_holds_styles, refuse_replacing
    from munit_edge.translator import Translator

    wishes = {
        "name": name,
        "domain": domain,
        "seed": seed,
        "index": index,
        "pictures": tuple(pictures or ()),
        "spread": spread,
        "interpolate": interpolate,
        "frames": frames,
        "size": size,
        "max_megapixels": max_megapixels,
        "thumbnail": not no_thumbnail,
        "output": output,
        "overwrite": overwrite,
    }
    options = validate_options(SaveStyleOptions, wishes, {"name": "NAME"})
    saved = SavedStyles.of(model)
    paths = [output] if output else [saved.path(each) for each in options.names]
    with writing_to(*paths), warnings.catch_warnings():
        if output:
            inputs = (*options.pictures, *map(Path, interpolate or ()))
            check_files({"-o": output}, overwrite=overwrite, inputs=inputs)
            check_holds_styles(output)
        elif not overwrite:
            refuse_replacing(paths)
        # What Pillow says of odd metadata is of no use here; damaged pixels are errors.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        styles = make_styles(
            options,
            saved,
            lambda: Translator.open(model, engine=engine, device=device),
            warn,
            _with_progress,
        )
        groups = [styles] if output else [[style] for style in styles]
        for path, group in zip(paths, groups, strict=True):
            saved.write(path, domain, group, replace=overwrite)
            write_line(str(path))
    for style in styles:
        tell(f"{style.name}: {style.origin}; {_place(style)}")


def list_(
    model: Model,
    domain: Annotated[
        Optional[Literal["a", "b"]],  # noqa: UP045
        typer.Option(help="Only styles of this domain.", show_default="both"),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each file.")
    ] = False,
    sheet: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE.png",
            help="Draw a sheet too: the reference pictures (or the numbers) of every style, or "
            "with --on what it makes of a picture. PNG, JPEG or WebP.",
        ),
    ] = None,
    on: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="PHOTO",
            help="Show this picture in every style on the sheet; of the domain that is translated "
            "from.",
        ),
    ] = None,
    size: Size = None,
    max_megapixels: MaxMegapixels = 100.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier sheet.")
    ] = False,
    engine: Engine = "auto",
    device: Device = "auto",
) -> None:
    """List saved styles, and draw a sheet of them.

    Tells each one's domain, the length of its code, how many random styles are longer, and where
    it came from.
    """
    from munit_edge.images.io import image_format
    from munit_edge.styles.saved import SavedStyles

    _check_sheet_options({"--on": on, "--size": size, "--overwrite": overwrite}, sheet, on)
    if sheet:
        image_format(sheet.suffix)
        check_files({"--sheet": sheet}, overwrite=overwrite, inputs=(model, on))
    saved = SavedStyles.of(model)
    listed = [
        entry for entry in saved.files() if not entry.file or domain in (None, entry.file.domain)
    ]
    if json_lines:
        for entry in listed:
            write_json(entry.model_dump_json())
    else:
        _print_table(listed, saved.folder)
    if sheet and not on:
        _draw_references(sheet, listed, replace=overwrite)
    if sheet and on:
        from munit_edge.styles.choose import read_picture
        from munit_edge.translator import Translator

        target = _only_domain(listed)
        source: Domain = "b" if target == "a" else "a"
        with Translator.open(model, engine=engine, device=device) as translator:
            picture = read_picture(
                on,
                translator.config.channels(source),
                size=size,
                max_megapixels=max_megapixels,
                option="--on",
            )
            shown = (picture, on.name)
            _draw_sheet(sheet, translator, listed, target, shown, replace=overwrite)


def rename(
    model: Model,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Saved style.")],
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="What to call it from now.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a style of that name.")
    ] = False,
) -> None:
    """Give a saved style another name."""
    from munit_edge.styles.saved import SavedStyles

    write_line(str(SavedStyles.of(model).rename(name, new_name, overwrite=overwrite)))


def _check_sheet_options(given: dict[str, object], sheet: Path | None, on: Path | None) -> None:
    """Refuse what has no effect."""
    for option, value in given.items():
        if value and not sheet:
            raise ConfigError(
                f"{option} is for a sheet: add --sheet FILE.png, or leave {option} out"
            )
    if given["--size"] and not on:
        raise ConfigError("--size is for the picture of --on: add --on PHOTO, or leave --size out")


def delete(
    model: Model,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Saved styles.")],
) -> None:
    """Delete saved styles, all of those named or none."""
    from munit_edge.styles.saved import SavedStyles

    for path in SavedStyles.of(model).delete(names):
        write_line(f"deleted {path}")


def _with_progress(files: Sequence[ImageFile]) -> Iterator[ImageFile]:
    with progress("encoding pictures", len(files)) as bar:
        for file in files:
            yield file
            bar.advance(note=file.path.name)


def _styles(listed: list[ListedFile]) -> Iterator[tuple[str, Domain, NamedStyle]]:
    """What to call each style that can be used, its domain, and the style."""
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
        origin = str(style.origin or "not told")
        rows.append((name, domain, f"{distance.norm:.2f}", longer, origin))
    width = max(len(row[0]) for row in rows)
    for row in rows if len(rows) > 1 else ():
        first, second, length, longer, origin = row
        write_line(f"{first:<{width}}  {second:<6}  {length:>6}  {longer:>6}  {origin}")
    for entry in listed:
        if entry.unusable:
            write_line(f"{entry.name}   not used: {entry.unusable}")
    count = len(rows) - 1
    write_line(f"{count} style{'' if count == 1 else 's'} in {folder}")


def _draw_references(sheet: Path, listed: list[ListedFile], *, replace: bool) -> None:
    from munit_edge.images.io import Picture, write_image
    from munit_edge.styles.making import reference_sheet

    styles = [style.model_copy(update={"name": name}) for name, _, style in _styles(listed)]
    if not styles:
        raise InputError(_NOTHING_TO_DRAW)
    write_image(sheet, Picture(reference_sheet(styles)), replace=replace)
    tell(f"style sheet: {sheet}")


def _only_domain(listed: list[ListedFile]) -> Domain:
    domains = {entry.file.domain for entry in listed if entry.file}
    if len(domains) == 2:
        raise ConfigError("styles of both domains are saved: say which to draw with --domain")
    if not domains:
        raise InputError(_NOTHING_TO_DRAW)
    return domains.pop()


def _draw_sheet(
    sheet: Path,
    translator: Translator,
    listed: list[ListedFile],
    domain: Domain,
    shown: tuple[Picture, str],
    *,
    replace: bool,
) -> None:
    from munit_edge.images.io import Picture, write_image
    from munit_edge.styles.making import style_sheet

    styles = [style.model_copy(update={"name": name}) for name, _, style in _styles(listed)]
    with progress("drawing styles", len(styles)) as bar:
        pixels = style_sheet(
            translator, styles, domain, *shown, on_style=lambda name: bar.advance(note=name)
        )
    write_image(sheet, Picture(pixels), replace=replace)
    tell(f"style sheet: {sheet}")


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
