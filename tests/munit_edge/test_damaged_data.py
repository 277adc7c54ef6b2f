"""Every JSON file that the program reads, damaged in every way: one line, or what is whole."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

import munit_edge
from munit_edge.engines.tensorrt.sidecar import SidecarError, read_sidecar
from munit_edge.errors import ModelError, MunitEdgeError
from munit_edge.images.sample_data import LABELS_FILE, read_labels
from munit_edge.model.manifest import MANIFEST_FILE, read_manifest
from munit_edge.model.opening import checked_graph
from munit_edge.styles.files import read_style_file, sampled_style
from munit_edge.trainer.checkpoint import (
    INFO_FILE,
    TRAINING_TENSORS_FILE,
    TRAINING_VALUES_FILE,
    open_checkpoint,
)
from munit_edge.trainer.run.curves import read_curves
from munit_edge.trainer.run.record import read_record
from munit_edge.trainer.run.state import saved_values
from munit_edge.translate.log import LOG_FILE, TranslateLog
from munit_edge.video.parts import LEDGER, Parts

SELFTEST = Path(munit_edge.__file__).parent / "doctor" / "selftest_model"
WRONG: tuple[Any, ...] = (None, [], {}, [[{}]], "x", "", -1, 0.5, True, 10**40, "../x", "x" * 5000)
TEXTS = {
    "empty": b"",
    "space": b" \n",
    "nested": b"[" * 100_000,
    "nested and closed": b"[" * 500 + b"]" * 500,
    "nested mappings": b'{"a":' * 100_000,
    "digits": b"9" * 5000,
    "not a number": b"NaN",
    "infinite": b"[-Infinity, 1e999]",
    "list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "number": b"1",
    "binary": bytes(range(256)),
    "latin-1": b'{"a": "\xe4"}',
    "surrogate": b'{"a": "\\ud800", "\\udfff": 1}',
    "NUL": b'{"a": "\\u0000"}',
    "NUL as it is": b'{"a": "\0"}',
    "page": b"<!DOCTYPE html>",
    "two": b"{}{}",
}


def variants(data: Any) -> Iterator[tuple[str, Any]]:
    """`data` with one part after the other of a wrong type, left out, or with a key too many."""
    for path in places(data, ()):
        for wrong in WRONG:
            changed = copy.deepcopy(data)
            parent = at(changed, path[:-1])
            parent[path[-1]] = wrong
            yield f"{path} = {str(wrong)[:20]}", changed
        if isinstance(path[-1], str):
            less, more = copy.deepcopy(data), copy.deepcopy(data)
            del at(less, path[:-1])[path[-1]]
            yield f"{path} left out", less
            at(more, path[:-1])["\u4e2d"] = 1
            yield f"{path} and more", more


def places(data: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Paths of all values; of a list, those of the first one."""
    items: list[tuple[Any, Any]] = []
    if isinstance(data, dict):
        items = list(data.items())
    elif isinstance(data, list) and data:
        items = [(0, data[0])]
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


SESSION = {
    "device": "cpu",
    "machine": "x",
    "software": "y",
    "images": {"a": 1, "b": 1},
    "started": 1.0,
    "updated": 2.0,
    "first_iteration": 0,
    "iteration": 3,
}
SHAPE = {"kind": "circle", "centre": [0.5, 0.5], "radius": 0.2, "rotation": 0.0}
LABEL = {"shape": SHAPE, "style": None}
VALID: dict[str, Any] = {
    "manifest": json.loads((SELFTEST / "model" / MANIFEST_FILE).read_text()),
    "checkpoint": json.loads((SELFTEST / "checkpoint" / INFO_FILE).read_text()),
    "training": {
        "images": {"a": {"count": 1, "names": "x"}},
        "images_per_iteration": 1,
        "skipped_updates": 0,
        "vgg": None,
    },
    "style": {
        "model_sha256": "0" * 64,
        "domain": "b",
        "styles": [sampled_style("one", 8, 3).model_dump(mode="json")],
    },
    "record": {"sessions": [SESSION]},
    "labels": {"size": 16, "seed": 0, "pictures": {"trainA/00000.png": LABEL}},
    "curves": {"iteration": 1, "loss": 0.5},
    "log": {"input": "x", "sha256": None, "settings": "s", "outputs": ["x_00.png"], "seconds": 1},
    "ledger": {"settings": "s"},
    "sidecar": {"graph": "decoder_b", "key": {"onnx_sha256": "0"}},
}


def read_log(path: Path) -> object:
    path = path.rename(path.with_name(LOG_FILE))
    with contextlib.closing(TranslateLog(path.parent, "s")) as log:
        return log.find_done([path.parent / "x_00.png"], "0")


def read(kind: str, folder: Path, content: bytes) -> object:
    """What the reader of one kind of file makes of `content`."""
    if kind == "manifest":
        (folder / MANIFEST_FILE).write_bytes(content)
        return [checked_graph(folder, graph) for graph in read_manifest(folder).graphs[:1]]
    if kind in ("checkpoint", "training"):
        shutil.copytree(SELFTEST / "checkpoint", folder, dirs_exist_ok=True)
        file = INFO_FILE if kind == "checkpoint" else TRAINING_VALUES_FILE
        (folder / file).write_bytes(content)
        opened = open_checkpoint(folder)
        if kind == "checkpoint":
            return opened
        save_file({}, folder / TRAINING_TENSORS_FILE)
        return saved_values(opened.training_state(), folder)
    path = folder / (LABELS_FILE if kind == "labels" else "x.json")
    if kind == "ledger":
        parts = Parts(folder / "clip.mp4")
        parts.folder.mkdir(exist_ok=True)
        (parts.folder / LEDGER).write_bytes(content + b"\n")
        return parts.read("s")
    path.write_bytes(content)
    readers: dict[str, Callable[[Path], object]] = {
        "style": lambda path: read_style_file(path, model_sha256="0" * 64, style_dim=8, domain="b"),
        "record": read_record,
        "labels": lambda path: read_labels(path.parent),
        "curves": read_curves,
        "log": read_log,
        "sidecar": read_sidecar,
    }
    return readers[kind](path)


@pytest.mark.parametrize("kind", VALID)
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    if kind == "manifest":
        shutil.copytree(SELFTEST / "model", tmp_path, dirs_exist_ok=True)
    for name, content in damaged(kind):
        try:
            read(kind, tmp_path, content)
        except (MunitEdgeError, SidecarError) as exc:
            message = str(exc)
            assert "\n" not in message, name
            assert len(message) < 4000, name
        except Exception as exc:
            raise AssertionError(f"{kind}, {name}: {exc!r}") from exc


def damaged(kind: str) -> Iterator[tuple[str, bytes]]:
    yield from TEXTS.items()
    for name, data in variants(VALID[kind]):
        yield name, json.dumps(data).encode()


@pytest.mark.parametrize("kind", [k for k in VALID if k not in ("sidecar", "provider")])
def test_whole_files(kind: str, tmp_path: Path) -> None:
    if kind == "manifest":
        shutil.copytree(SELFTEST / "model", tmp_path, dirs_exist_ok=True)
    read(kind, tmp_path, json.dumps(VALID[kind]).encode())


@pytest.mark.parametrize(
    "name", ["../x.onnx", "/x.onnx", "a\0b", "x" * 5000, "..", "", "a/b.onnx", "\ud800"]
)
def test_names_in_a_manifest_that_are_no_files_of_it(name: str, tmp_path: Path) -> None:
    shutil.copytree(SELFTEST / "model", tmp_path, dirs_exist_ok=True)
    data = copy.deepcopy(VALID["manifest"])
    data["graphs"][0]["file"] = name
    with pytest.raises(ModelError, match="export the model again"):
        read("manifest", tmp_path, json.dumps(data).encode())


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).mkdir()
    with pytest.raises(MunitEdgeError, match="is a folder"):
        read_manifest(tmp_path)
    (tmp_path / LABELS_FILE).mkdir()
    with pytest.raises(MunitEdgeError, match="is a folder"):
        read_labels(tmp_path)
