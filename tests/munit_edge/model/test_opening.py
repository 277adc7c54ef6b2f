"""Graphs and weights files are what the manifest says, or are not opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import outcome
from noise_images import noise, save_noise

from munit_edge.doctor.selftest import FOLDER
from munit_edge.engines.factory import open_graphs
from munit_edge.errors import ModelError
from munit_edge.files.atomic import sha256
from munit_edge.model import opening
from munit_edge.model.manifest import MANIFEST_FILE, Manifest, read_manifest
from munit_edge.model.opening import FileHashes, checked_graph, read_graph

WEIGHTS = "decoder_b.weights"


@pytest.fixture
def model(tiny_stats_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_stats_model, tmp_path / "model"))


def changed(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the entries of decoder_b and its twin in the manifest."""
    data = json.loads((model / MANIFEST_FILE).read_text())
    for entry in data["graphs"]:
        if entry["file"] in ("decoder_b.onnx", "decoder_b_stats.onnx"):
            change(entry)
    (model / MANIFEST_FILE).write_text(json.dumps(data))


def named(name: str) -> Callable[[Path], object]:
    def damage(model: Path) -> None:
        changed(model, lambda entry: entry["weights"].update(file=name))

    return damage


def truncate(model: Path) -> None:
    data = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(data[:-1])


def flip_a_bit(model: Path) -> None:
    data = bytearray((model / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (model / WEIGHTS).write_bytes(data)


def of_another_export(model: Path) -> None:
    shutil.copy(model / "decoder_a.weights", model / WEIGHTS)


def linked(name: str) -> Callable[[Path], object]:
    def damage(model: Path) -> None:
        (model / name).rename(model.parent / name)
        (model / name).symlink_to(f"../{name}")

    return damage


def folder(model: Path) -> None:
    (model / WEIGHTS).unlink()
    (model / WEIGHTS).mkdir()


def unlisted(model: Path) -> None:
    changed(model, lambda entry: entry.update(weights=None))


def listed_too_short(model: Path) -> None:
    """Manifest and file agree, and the graph reads beyond the end."""
    data = (model / WEIGHTS).read_bytes()[:4096]
    (model / WEIGHTS).write_bytes(data)
    facts = {"bytes": len(data), "sha256": sha256(model / WEIGHTS)}
    changed(model, lambda entry: entry["weights"].update(facts))


def disagreeing(model: Path) -> None:
    changed(model, lambda entry: entry["weights"].update(bytes=len(entry["file"])))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "moved alone": (
        lambda model: (model / WEIGHTS).unlink(),
        "decoder_b.weights cannot be read (No such file or directory), and decoder_b.onnx needs "
        "it: copy the whole model directory again, or export the model again",
    ),
    "truncated": (truncate, "bytes, the manifest says"),
    "one bit": (flip_a_bit, "decoder_b.weights is not the file that was exported: its SHA-256 is"),
    "another export's": (of_another_export, "decoder_b.weights is not the file that was exported"),
    "a link out": (linked(WEIGHTS), "decoder_b.weights is a link to a file elsewhere"),
    "a graph's link": (linked("decoder_b.onnx"), "decoder_b.onnx is a link to a file elsewhere"),
    "a folder": (folder, "copy the model directory again or export it"),
    "parent": (named("../decoder_b.weights"), "names '../decoder_b.weights', which is no file in"),
    "absolute": (named("/etc/hostname"), "names '/etc/hostname', which is no file in"),
    "folder above": (named(".."), "names '..', which is no file in"),
    "no name": (named(""), "names '', which is no file in"),
    "below": (named("sub/x"), "names 'sub/x', which is no file in"),
    "control": (named("a\nb"), r"a\nb cannot be read (No such file or directory)"),
    "another name": (named("decoder_a.weights"), "two graphs disagree on 'decoder_a.weights'"),
    "unlisted": (unlisted, "would load weights from another file ('decoder_b.weights')"),
    "too short": (listed_too_short, "would load weights that are not in decoder_b.weights"),
    "disagreeing": (disagreeing, "two graphs disagree on 'decoder_b.weights'"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_weights_are_one_line_and_exit_code_2(case: str, model: Path) -> None:
    damage, message = DAMAGE[case]
    damage(model)
    photo = model.parent / "photo.png"
    save_noise(photo, 32, 32)
    command = ["translate", model, photo, "--direction", "a2b", "--engine", "onnxruntime"]
    code, _, err = outcome(*command, "--device", "cpu", "-o", model.parent / "results")
    assert code == 2, err
    (line,) = err.strip().splitlines()
    assert message in line
    assert any(fix in line for fix in ("export", "copy")), line


@pytest.mark.parametrize("case", DAMAGE)
def test_every_way_to_open_a_graph_checks_its_weights(case: str, model: Path) -> None:
    damage, _ = DAMAGE[case]
    damage(model)
    for read in (read_graph, checked_graph):
        with pytest.raises(ModelError):
            read(model, read_manifest(model).graph("decoder", "b"))


def test_a_link_within_the_directory_is_followed(model: Path) -> None:
    (model / WEIGHTS).rename(model / "renamed")
    (model / WEIGHTS).symlink_to("renamed")
    checked_graph(model, read_manifest(model).graph("decoder", "b"))


def test_a_model_directory_may_be_a_link(model: Path) -> None:
    link = model.with_name("link")
    link.symlink_to(model)
    checked_graph(link, read_manifest(link).graph("decoder", "b"))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_weights_are_found_in_a_folder_whose_name_is_not_utf8(
    engine: str, tiny_model: Path, tmp_path: Path
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    model = Path(shutil.copytree(tiny_model, tmp_path / "mod\udce9le"))
    image = {"image": noise(32, 32, 3)[None]}
    codes = []
    for path in (model, tiny_model):
        with open_graphs(path, engine, "cpu") as graphs:
            codes.append(graphs.runner("content_encoder", "a").run(image)["content"])
    assert np.array_equal(*codes)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_weights_file_is_hashed_once_for_both_graphs(
    engine: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    hashed: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return sha256(path)

    monkeypatch.setattr(opening, "sha256", counted)
    with open_graphs(model, engine, "cpu") as graphs:
        graphs.runner("decoder", "b")
        graphs.runner("decoder_stats", "b")
    assert sorted(hashed) == ["decoder_b.onnx", WEIGHTS, "decoder_b_stats.onnx"]


def test_a_file_that_changed_is_hashed_again(tmp_path: Path) -> None:
    path, hashes = tmp_path / "x", FileHashes()
    path.write_bytes(b"one")
    first = hashes.of(path)
    path.with_name("y").write_bytes(b"two")
    path.with_name("y").replace(path)
    assert (first, hashes.of(path)) != (first, first)
    assert hashes.of(path) == sha256(path)


def test_the_hash_of_a_graph_covers_its_weights(tiny_stats_model: Path) -> None:
    manifest = read_manifest(tiny_stats_model)
    for entry in manifest.graphs:
        if entry.weights is None:
            assert entry.content_sha256 == entry.sha256
            continue
        other = entry.weights.model_copy(update={"sha256": "0" * 64})
        with_other = entry.model_copy(update={"weights": other})
        assert len({entry.content_sha256, with_other.content_sha256, entry.sha256}) == 3


def test_a_graph_that_holds_all_its_weights_needs_no_entry_of_weights() -> None:
    model = FOLDER / "model"
    data = json.loads((model / MANIFEST_FILE).read_text())
    for entry in data["graphs"]:
        entry.pop("weights", None)
    manifest = Manifest.model_validate(data)
    assert manifest == read_manifest(model)
    assert all(entry.weights is None for entry in manifest.graphs)
