"""What --overwrite may replace, and what it never does."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from munit_edge.errors import OutputError
from munit_edge.files.atomic import atomic_folder
from munit_edge.files.replacing import FolderTarget, check_file, same_file
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.images.sample_data import SAMPLE_DATA
from munit_edge.model.manifest import MANIFEST_FILE, MODEL_DIRECTORY


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model directory."""
    path = tmp_path / "model"
    path.mkdir()
    (path / MANIFEST_FILE).write_text(json.dumps({"format_version": 1, "graphs": []}))
    (path / "decoder_b.onnx").write_bytes(b"old")
    (path / "decoder_b.weights").write_bytes(b"old")
    (path / ".DS_Store").touch()
    (path / f"{PARTIAL_PREFIX}x").touch()
    return path


def check(path: Path, *inputs: Path, overwrite: bool = True) -> None:
    FolderTarget(path, MODEL_DIRECTORY, overwrite, inputs).check()


def refusal(path: Path, *inputs: Path, overwrite: bool = True) -> str:
    with pytest.raises(OutputError) as caught:
        check(path, *inputs, overwrite=overwrite)
    return str(caught.value)


def test_a_folder_of_the_same_kind_is_replaced_when_asked(model: Path) -> None:
    check(model)
    fix = "exists already: name another folder or pass --overwrite"
    assert refusal(model, overwrite=False) == f"{model} {fix}"


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", "decoder_b.onnx.data", "decoder_b_stats.weights", "my.weights"),
        *("sub/decoder_b.onnx", "photos/x.jpg", "style/a"),
    ],
)
def test_files_of_the_user_are_named_and_stay(name: str, model: Path) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).touch()
    text = refusal(model)
    assert "holds other files, which --overwrite does not replace" in text
    assert name in text


def test_links_and_special_files_belong_to_the_user(model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (model / "decoder_a.onnx").symlink_to(tmp_path / "photos")
    os.mkfifo(model / "style_encoder_a.onnx")
    assert "(decoder_a.onnx, style_encoder_a.onnx)" in refusal(model)


@pytest.mark.parametrize(
    "text", [None, "", "{}", "[]", "nonsense", '{"format_version": 1}', "[" * 100_000]
)
def test_other_folders_are_never_replaced(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "photo.jpg").touch()
    if text is not None:
        (path / MANIFEST_FILE).write_text(text)
    assert "holds other files and is not a model directory" in refusal(path)
    assert "exists already: name a new or empty folder" in refusal(path, overwrite=False)


def test_sample_data_is_what_its_labels_name(tmp_path: Path) -> None:
    (tmp_path / "trainA").mkdir()
    for name in ("00000.png", "00001.png"):
        (tmp_path / "trainA" / name).touch()
    labels = {"size": 16, "seed": 0, "pictures": {"trainA/00000.png": None}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    target = FolderTarget(tmp_path, SAMPLE_DATA, overwrite=True)
    with pytest.raises(OutputError, match=r"\(trainA/00001\.png\)"):
        target.check()
    (tmp_path / "trainA" / "00001.png").unlink()
    target.check()


def test_inputs_are_never_replaced_by_any_path(model: Path, tmp_path: Path) -> None:
    (model / "styles").mkdir()
    link = tmp_path / "link"
    link.symlink_to(model)
    for given in (model, model / ".." / "model", link, Path(os.path.relpath(model))):
        assert "is an input" in refusal(model, given)
        assert "is an input" in refusal(model, given, overwrite=False)
    for given in (model / "styles", link / "styles", model / "decoder_b.onnx"):
        assert f"holds {given}, which is an input" in refusal(model, given)
    for given in (tmp_path, link / "..", tmp_path / "link" / ".."):
        assert "which is an input" in refusal(model, given)
        assert "which is an input" in refusal(tmp_path / "new", given)
    check(model, tmp_path / "elsewhere")


def test_an_input_that_is_reached_by_a_bind_mount(model: Path, tmp_path: Path) -> None:
    """A hard link shows what a bind mount would: another path with the same inode."""
    (tmp_path / "photo").hardlink_to(model / "decoder_b.onnx")
    assert f"holds {tmp_path / 'photo'}, which is an input" in refusal(model, tmp_path / "photo")


def test_the_current_folder_is_never_replaced(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "styles").mkdir()
    monkeypatch.chdir(model / "styles")
    for path in (model, model / "styles", tmp_path, Path("../../model")):
        assert "is the current folder or holds it" in refusal(path)
    for path in (Path(), Path(".."), Path("/"), Path("../..")):
        assert "is not a name for a new folder" in refusal(path)


def test_links_files_and_mount_points_are_no_targets(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "file").touch()
    assert "link is a link" in refusal(tmp_path / "link")
    assert "dangling is a link" in refusal(tmp_path / "dangling")
    assert "file is a file" in refusal(tmp_path / "file")
    if os.path.ismount("/proc"):
        assert "is a mount point" in refusal(Path("/proc"))


def test_saved_styles_are_carried_over_as_they_are(model: Path, tmp_path: Path) -> None:
    (tmp_path / "shared.json").write_text("shared")
    (model / "styles").mkdir()
    (model / "styles" / "notes.txt").write_text("mine")
    (model / "styles" / "shared.json").symlink_to("../../shared.json")
    target = FolderTarget(model, MODEL_DIRECTORY, overwrite=True)
    target.check()
    with atomic_folder(model, replacing=target.replacing) as partial:
        (partial / MANIFEST_FILE).write_text("new")
        (model / "styles" / "late.json").write_text("saved while the export ran")
    assert sorted(path.name for path in model.iterdir()) == [MANIFEST_FILE, "styles"]
    assert (model / MANIFEST_FILE).read_text() == "new"
    assert (model / "styles" / "notes.txt").read_text() == "mine"
    assert (model / "styles" / "late.json").exists()
    assert (model / "styles" / "shared.json").readlink() == Path("../../shared.json")


def test_what_is_put_there_meanwhile_stays(model: Path) -> None:
    target = FolderTarget(model, MODEL_DIRECTORY, overwrite=True)
    target.check()
    with (
        pytest.raises(OutputError, match=r"\(notes\.txt\)"),
        atomic_folder(model, replacing=target.replacing) as partial,
    ):
        (partial / MANIFEST_FILE).write_text("new")
        (model / "notes.txt").write_text("mine")
    assert (model / "notes.txt").read_text() == "mine"
    assert (model / "decoder_b.onnx").read_bytes() == b"old"


def test_files_are_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    check_file(path, overwrite=False)
    path.touch()
    with pytest.raises(OutputError, match="exists already: name another file or pass --overwrite"):
        check_file(path, overwrite=False)
    check_file(path, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_inputs_are_never_replaced(overwrite: bool, model: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model)
    for path in (model / MANIFEST_FILE, tmp_path / "link" / MANIFEST_FILE):
        for given, words in ((model, "is a file of"), (model / MANIFEST_FILE, "is an input")):
            with pytest.raises(OutputError, match=words):
                check_file(path, overwrite=overwrite, inputs=[given])
    check_file(model / "report.json", overwrite=overwrite, inputs=[model])  # it is new


def test_only_regular_files_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to("nothing")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        server.bind("socket")
    for name, words in (("link", "a link"), ("folder", "a folder"), ("socket", "a device or pipe")):
        with pytest.raises(OutputError, match=f"is {words}: name a file"):
            check_file(tmp_path / name, overwrite=True)
    with pytest.raises(OutputError, match="is a device or pipe"):
        check_file(Path("/dev/null"), overwrite=True)


def test_same_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to("a")
    assert same_file(tmp_path / "a", tmp_path / "b")
    assert not same_file(tmp_path / "a", tmp_path / "c")
    assert not same_file(tmp_path / "c", tmp_path / "c")
