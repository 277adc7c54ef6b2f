"""Reading weight files of other programs. No code in them is ever run."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munit_edge.errors import InputError, MissingExtraError, ModelError
from munit_edge.extras import require
from munit_edge.files.paths import exists, is_file, is_folder, utf8_name
from munit_edge.trainer.torch_api import Tensor, torch

MAX_HEADER = 100_000_000
"""Largest header of a safetensors file in bytes, by its specification."""
# First bytes in lower case, as they are compared.
_KNOWN_FILES = {
    b"version https://git-lfs": "it is a Git LFS pointer: fetch the file with `git lfs pull`",
    b"<!doctype": "it is a web page: download the file itself",
    b"<html": "it is a web page: download the file itself",
    b"<?xml": "it is an XML file, perhaps a server's answer: download the file itself",
    b"\x1f\x8b": "it is compressed with gzip: unpack it",
    b"\x89hdf": "it is an HDF5 file, as Keras writes",
    # The tag of `ir_version`, the first field of an ONNX graph's protocol buffer.
    b"\x08": "it is an ONNX graph or damaged",
    b"{": "it is JSON",
    b"\x80": "it is a pickle that torch did not write, or damaged",
}


def read_torch_file(path: Path, expected: str) -> Any:
    """Load a file of `torch.save`: plain tensors, numbers, text and containers of them.

    Args:
        path: the file.
        expected: what is needed here; the end of every message.

    Raises:
        InputError: there is no such file, or permission is denied.
        ModelError: the file is damaged, is not a torch file, or holds other Python objects.
    """
    if not exists(path):
        raise InputError(f"{path} does not exist: {expected}")
    if is_folder(path):
        raise InputError(f"{path} is a folder: {expected}")
    if not is_file(path):  # opening a pipe would block
        raise InputError(f"{path} is not a file: {expected}")
    try:
        with utf8_name(path) as name:
            return torch.load(name, map_location="cpu", weights_only=True)
    except PermissionError as exc:
        raise InputError(f"{path} cannot be read: permission denied") from exc
    except pickle.UnpicklingError as exc:
        if (needed := re.search(r"GLOBAL ([\w.]+)", str(exc))) is None:
            raise ModelError(_damaged(path, expected)) from exc
        raise ModelError(
            f"{path} holds Python objects ({needed.group(1)}), which could run arbitrary code when "
            "loaded: only plain tensors are read; if you trust the file, save its state "
            "dictionaries alone with the program that wrote it"
        ) from exc
    except (MissingExtraError, MemoryError):
        raise
    except Exception as exc:  # a damaged file can make the unpickler raise anything
        raise ModelError(_damaged(path, expected)) from exc


def read_foreign_file(path: Path, expected: str) -> Any:
    """Load a file of `torch.save` or a safetensors file, whatever its name.

    Raises:
        InputError: there is no such file, or permission is denied.
        ModelError: the file is damaged, is neither, or holds other Python objects.
    """
    if path.is_file() and _is_safetensors(_first_bytes(path)):
        return _read_safetensors(path, expected)
    return read_torch_file(path, expected)


def read_weight_file(path: Path, expected: str) -> dict[str, Tensor]:
    """The tensors of a file by name: safetensors, or a state dictionary saved by torch.

    Args:
        path: the file; one named *.safetensors must be in that format.
        expected: what is needed here; the end of every message.

    Raises:
        InputError: there is no such file, or permission is denied.
        ModelError: the file is damaged, or holds something else.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path, expected)
    data = read_foreign_file(path, expected)
    if not isinstance(data, Mapping) or not all(isinstance(v, Tensor) for v in data.values()):
        raise ModelError(f"{path} does not hold tensors by name: {expected}")
    return dict(data)


def _read_safetensors(path: Path, expected: str) -> dict[str, Tensor]:
    safetensors = require("safetensors", "reading weights")
    if not is_file(path):
        raise InputError(f"{path} is not a file: {expected}")
    try:
        with utf8_name(path) as name:
            return dict(require("safetensors.torch", "reading weights").load_file(name))
    except (safetensors.SafetensorError, OSError) as exc:
        raise ModelError(f"{path} cannot be read as safetensors ({exc}): {expected}") from exc


def _damaged(path: Path, expected: str) -> str:
    return f"{path} cannot be read as a torch file, {_what_it_is(path)}: {expected}"


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError:
        return b""


def _is_safetensors(begin: bytes) -> bool:
    # Eight bytes with the length of the header, then the header, which is JSON.
    return begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") < MAX_HEADER


def _what_it_is(path: Path) -> str:
    """The apparent type of a file that torch cannot read."""
    begin = _first_bytes(path)
    if not begin:
        return "it is empty"
    if begin.startswith(b"PK\x03\x04"):
        return "it is a zip archive " + (
            "that torch did not write: unpack it and name the file inside"
            if zipfile.is_zipfile(path)
            else "whose end is missing: copy or download it again"
        )
    if begin[257:262] == b"ustar":
        return "it is a tar archive: unpack it and name the file inside"
    for known, what in _KNOWN_FILES.items():
        if begin.lstrip().lower().startswith(known):
            return what
    return "it is damaged or something else"
