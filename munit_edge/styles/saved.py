"""The saved styles of a model: the folder `styles` of its directory, and files elsewhere.

model/styles/sunset.json     the style that `--style sunset` names
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from munit_edge.errors import ConfigError, InputError, OutputError
from munit_edge.files.system_errors import output_errors
from munit_edge.model.config import Domain
from munit_edge.model.manifest import STYLES_FOLDER, read_manifest
from munit_edge.settings import StrictModel
from munit_edge.styles.files import (
    NamedStyle,
    StyleFile,
    read_style_file,
    sampled_style,
    write_style_file,
)

SUFFIX = ".json"
MAX_NAME = 64

_NAME = re.compile(rf"[^\W\d_][\w-]{{0,{MAX_NAME - 1}}}")


class ListedFile(StrictModel):
    """A file in the folder of saved styles."""

    name: str
    """Its name for `--style`."""
    path: str
    """Path of the file."""
    file: StyleFile | None = None
    """Its content; null: it cannot be used."""
    unusable: str | None = None
    """Why it cannot be used; null: it can."""


@dataclass(frozen=True)
class SavedStyles:
    """The styles of one model: those in its folder `styles`, and files elsewhere."""

    folder: Path
    """Folder of named styles; it need not exist."""
    model_sha256: str
    """The model's identity."""
    style_dim: int
    """Numbers in a code."""

    @classmethod
    def of(cls, model: Path) -> SavedStyles:
        """The saved styles of a model directory; no engine is needed.

        Raises:
            InputError, ModelError: the path is not a model directory, or it is damaged.
        """
        manifest = read_manifest(model)
        return cls(model / STYLES_FOLDER, manifest.checkpoint_sha256, manifest.model.style_dim)

    def names(self) -> list[str]:
        """Names of the saved styles, sorted; the files are not read."""
        files = self.folder.glob(f"*{SUFFIX}") if self.folder.is_dir() else ()
        return sorted(file.stem for file in files if _is_name(file.stem))

    def files(self) -> list[ListedFile]:
        """Every file of the folder, sorted by name, with its content or why it cannot be used."""
        listed = []
        for name in self.names():
            path = self.folder / f"{name}{SUFFIX}"
            try:
                listed.append(ListedFile(name=name, path=str(path), file=self.read(str(path))))
            except InputError as exc:
                listed.append(ListedFile(name=name, path=str(path), unusable=str(exc)))
        return listed

    def path(self, name: str) -> Path:
        """The file of the style `name`, whether or not it exists.

        Raises:
            ConfigError: `name` cannot be the name of a style.
        """
        return self.folder / f"{check_name(name)}{SUFFIX}"

    def find(self, style: str) -> Path:
        """The file of `style`, as a user names it.

        Args:
            style: a name; anything that cannot be one is a path.

        Raises:
            InputError: no style of that name is saved; the message lists those that are.
        """
        if not _is_name(style):
            return Path(style)
        names = self.names()
        for name in names:  # spelled as in the folder: copied files may use decomposed Unicode
            if _composed(name) == _composed(style):
                return self.folder / f"{name}{SUFFIX}"
        known = f"saved there: {', '.join(names)}" if names else "none is saved there"
        raise InputError(
            f"{self.folder} holds no style '{style}' ({known}): `munit-edge styles save` saves "
            "one, and the path of a file needs its folder or suffix"
        )

    def read(self, style: str, domain: Domain | None = None) -> StyleFile:
        """A saved style, by name or path, for `domain` or for either.

        Raises:
            InputError: there is none, it is damaged, or it belongs to another model or domain.
        """
        return read_style_file(
            self.find(style),
            model_sha256=self.model_sha256,
            style_dim=self.style_dim,
            domain=domain,
        )

    def read_one(self, style: str, domain: Domain) -> NamedStyle:
        """One code: a saved style by name or path, or the first sample of a seed such as "7".

        Raises:
            InputError: as `read`, or the file holds several codes.
        """
        if style.isdecimal():
            return sampled_style(f"seed {int(style)}", self.style_dim, int(style))
        styles = self.read(style, domain).styles
        if len(styles) > 1:
            raise InputError(
                f"{style} contains {len(styles)} styles: name a file with one style, a saved name "
                "or a seed"
            )
        return styles[0]

    def write(
        self, path: Path, domain: Domain, styles: Sequence[NamedStyle], *, replace: bool = False
    ) -> None:
        """Write a file of these styles.

        Raises:
            OutputError: it cannot be written, or exists and `replace` is false.
        """
        file = StyleFile(model_sha256=self.model_sha256, domain=domain, styles=tuple(styles))
        write_style_file(path, file, replace=replace)

    def rename(self, old: str, new: str, *, overwrite: bool = False) -> Path:
        """Give a saved style another name.

        Args:
            old: its present name.
            new: its new name.
            overwrite: replace a style of that name.

        Returns:
            Its file.

        Raises:
            ConfigError: `new` cannot be the name of a style, or both are the same.
            InputError: no style `old` is saved, or its file cannot be used with this model.
            OutputError: a style `new` exists already, or the folder cannot be written.
        """
        source, target = self.find(check_name(old)), self.path(new)
        if _composed(source.stem) == target.stem:
            raise ConfigError(f"'{new}' is the style's name already: pass another")
        file = self.read(str(source))
        if not overwrite:
            refuse_replacing([target])
        if len(file.styles) == 1:  # those of a file of several have names of their own
            renamed = file.styles[0].model_copy(update={"name": target.stem})
            file = file.model_copy(update={"styles": (renamed,)})
        # The new file is complete before the old one goes.
        write_style_file(target, file, replace=overwrite)
        with output_errors(source):
            source.unlink()
        return target

    def delete(self, names: Iterable[str]) -> list[Path]:
        """Delete saved styles: all of them, or none if one is missing.

        Raises:
            ConfigError: a name cannot be the name of a style.
            InputError: no style of that name is saved.
            OutputError: a file cannot be deleted.
        """
        # All are found before the first is deleted.
        paths = [self.find(check_name(name)) for name in dict.fromkeys(names)]
        for path in paths:
            with output_errors(path):
                path.unlink()
        return paths


def check_name(name: str) -> str:
    """`name` in the form that is saved: composed Unicode (NFC).

    Raises:
        ConfigError: it cannot be the name of a style.
    """
    composed = _composed(name)
    if not _NAME.fullmatch(composed):
        raise ConfigError(
            f"'{name}' cannot be the name of a style: use letters, digits, - and _, beginning with "
            f"a letter, {MAX_NAME} characters at most"
        )
    return composed


def check_holds_styles(path: Path) -> None:
    """Raise OutputError if `path` exists and is not a style file: only style files are replaced."""
    if not os.path.lexists(path):
        return
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not {"styles", "model_sha256"} <= data.keys():
        raise OutputError(
            f"{path} is not a style file, so --overwrite does not replace it: name another file"
        )


def refuse_replacing(paths: Iterable[Path]) -> None:
    """Raise OutputError if one of `paths` exists already."""
    for path in paths:
        if os.path.lexists(path):
            raise OutputError(f"{path} exists already: choose another name or pass --overwrite")


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(_composed(text)) is not None


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
