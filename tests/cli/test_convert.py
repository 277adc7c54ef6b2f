"""`munit-edge convert`: what it prints, and one line for everything that cannot be converted."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import outcome
from foreign_models import write_imaginaire_case, write_munit_case

from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.trainer.checkpoint import open_checkpoint

SHAPE = (1, 32, 32)


@pytest.fixture(scope="session")
def munit_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_munit_case(tmp_path_factory.mktemp("munit"), shape=SHAPE).parent


@pytest.fixture
def munit(munit_original: Path, tmp_path: Path) -> Path:
    """A folder with gen_00000010.pt, dis_00000010.pt and config.yaml, ours to damage."""
    return Path(shutil.copytree(munit_original, tmp_path / "case"))


@pytest.fixture(scope="session")
def imaginaire(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imaginaire checkpoint file. Do not write to its folder."""
    return write_imaginaire_case(tmp_path_factory.mktemp("imaginaire"), shape=SHAPE)


run = partial(outcome, "convert")


def run_on(folder: Path, name: str = "gen_00000010.pt", *more: object) -> tuple[int, str, str]:
    out = folder.parent / "out"
    return run(folder / name, "--config", folder / "config.yaml", "-o", out, *more)


def refused(folder: Path, name: str = "gen_00000010.pt", *more: object) -> str:
    """The one line that says why, after checking that nothing else came of it."""
    before = sorted(folder.parent.rglob("*"))
    code, out, err = run_on(folder, name, *more)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sorted(folder.parent.rglob("*")) == before
    assert not [path for path in before if path.name.startswith(PARTIAL_PREFIX)]
    return err


def test_munit(munit: Path) -> None:
    code, out, err = run_on(munit)
    result = munit.parent / "out"
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "from: NVlabs/MUNIT, iteration 10",
        "architecture: munit, channels 3 and 3, width 8, 2 downsamplings, 2 residual blocks, "
        "style 8",
        "generators: 152,043 + 152,043 parameters (live weights)",
        "discriminators: 4,946 + 4,946 parameters (multiscale-patch)",
        f"checkpoint: {result}",
        "licence: NVlabs/MUNIT and its released weights are licensed CC BY-NC-SA 4.0: "
        "non-commercial use only, share alike",
        f"next: munit-edge export onnx {result} -o MODEL",
    ]
    assert open_checkpoint(result).has_discriminators


def test_imaginaire(imaginaire: Path, tmp_path: Path) -> None:
    config = imaginaire.with_name("config.yaml")
    code, out, err = run(imaginaire, "--config", config, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "from: NVlabs/imaginaire, iteration 12345\n" in out
    assert "(live weights and their EMA)\n" in out
    assert "licence: NVlabs/imaginaire and its released weights are under the NVIDIA" in out
    live = run(imaginaire, "--config", config, "-o", tmp_path / "live", "--weights", "live")
    assert live[0] == 0
    assert "(live weights)\n" in live[1]
    assert not open_checkpoint(tmp_path / "live").has_average


def test_a_conversion_is_replaced_only_when_asked(munit: Path) -> None:
    assert run_on(munit)[0] == 0
    assert "exists already: name another folder or pass --overwrite" in refused(munit)
    code, _, _ = run_on(munit, "gen_00000010.pt", "--overwrite")
    assert code == 0


def test_what_is_no_conversion_is_never_replaced(munit: Path) -> None:
    out = munit.parent / "out"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    assert "out exists already: name a new or empty folder" in refused(munit)
    assert "holds other files" in refused(munit, "gen_00000010.pt", "--overwrite")
    (out / "mine.txt").unlink()
    assert run_on(munit)[0] == 0  # an empty folder is fine
    (out / "mine.txt").write_text("x")
    text = refused(munit, "gen_00000010.pt", "--overwrite")
    assert "which --overwrite does not replace (mine.txt): move them away" in text
    (out / "mine.txt").unlink()
    (out / "training.json").write_text("{}")  # it is a checkpoint of a run
    assert "(training.json)" in refused(munit, "gen_00000010.pt", "--overwrite")


def test_the_source_is_never_replaced(munit: Path) -> None:
    before = sorted(munit.iterdir())
    for out in (munit, munit.parent, munit / ".." / munit.name):
        words = [munit / "gen_00000010.pt", "--config", munit / "config.yaml", "-o", out]
        code, _, err = run(*words, "--overwrite")
        assert code == 2
        assert "which is an input" in err
    assert sorted(munit.iterdir()) == before


def test_earlier_folder_survives_a_failure_with_overwrite(munit: Path) -> None:
    assert run_on(munit)[0] == 0
    (munit / "gen_00000010.pt").write_bytes(b"nonsense")
    refused(munit, "gen_00000010.pt", "--overwrite")
    assert open_checkpoint(munit.parent / "out").info.iteration == 10


def test_missing_checkpoint(munit: Path) -> None:
    assert "gen_00000099.pt does not exist: a checkpoint of " in refused(munit, "gen_00000099.pt")


def test_folder_instead_of_a_file(munit: Path) -> None:
    (munit / "sub").mkdir()
    assert "sub is a folder: a checkpoint of " in refused(munit, "sub")


def test_missing_config(munit: Path) -> None:
    (munit / "config.yaml").unlink()
    assert "config.yaml does not exist" in refused(munit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gen: [", "is not YAML"),
        ("- 1\n", "expected keys and values, got list"),
        ("model: {width: 8}\n", "of neither NVlabs/MUNIT nor NVlabs/imaginaire"),
        ("gen: {dim: x}\ninput_dim_a: 3\n", "the section 'dis' is missing"),
    ],
    ids=["not YAML", "list", "ours", "incomplete"],
)
def test_bad_config(munit: Path, text: str, message: str) -> None:
    (munit / "config.yaml").write_text(text)
    assert message in refused(munit)


def test_config_of_the_other_program(munit: Path, imaginaire: Path) -> None:
    shutil.copy(imaginaire, munit / "other.pt")
    message = refused(munit, "other.pt")
    assert "config.yaml is a configuration file of NVlabs/MUNIT, but " in message
    assert "other.pt is a checkpoint of NVlabs/imaginaire: name the YAML file" in message


def test_no_average(munit: Path) -> None:
    message = refused(munit, "gen_00000010.pt", "--weights", "average")
    assert "gen_00000010.pt has no EMA of the weights: use --weights live" in message


def test_discriminators_instead_of_generators(munit: Path) -> None:
    message = refused(munit, "dis_00000010.pt")
    assert "dis_00000010.pt holds discriminators: name the generators' file, gen_*.pt" in message


def test_damaged_discriminators_are_named(munit: Path) -> None:
    (munit / "dis_00000010.pt").write_bytes(b"nonsense")
    assert "dis_00000010.pt cannot be read as a torch file" in refused(munit)
    torch.save([1], munit / "dis_00000010.pt")
    assert "move it away to convert without it" in refused(munit)


TENSOR = {"weight": torch.zeros(1)}
FOREIGN: dict[str, tuple[object, str]] = {
    "list": ([torch.zeros(1)], "is not a MUNIT checkpoint (it holds a list)"),
    "tensor": (torch.zeros(1), "is not a MUNIT checkpoint (it holds a Tensor)"),
    "empty": ({}, "is not a MUNIT checkpoint (it holds nothing)"),
    "keys": ({"state_dict": TENSOR, "epoch": 3}, "(it holds 'state_dict.weight', 'epoch')"),
    "optimiser": ({"gen": TENSOR, "dis": TENSOR}, "(it holds 'gen.weight', 'dis.weight')"),
    "a and b": ({"a": TENSOR, "b": TENSOR}, "(it holds 'a.weight', 'b.weight')"),
    "empty a and b": ({"a": {}, "b": {}}, "(it holds nothing)"),
    "no tensors": ({"a": {"x": 1}, "b": {}}, "(it holds 'a.x')"),
    "sparse": (
        {"a": {"dec.x": torch.zeros(2, 2).to_sparse()}, "b": {}},
        "holds 'dec.x', a Tensor and not a plain tensor",
    ),
    "number": ({"a": 1, "b": 2}, "(it holds 'a', 'b')"),
    "unit": (
        {"a": {"enc.model.0.conv.weight": torch.zeros(1)}, "b": TENSOR},
        "is a UNIT model: munit-edge supports only MUNIT models",
    ),
    "another generator": ({"net_G": TENSOR}, "holds no live weights of domain a"),
    "one domain": (
        {"net_G": {"module.autoencoder_a.x": torch.zeros(1)}},
        "holds no live weights of domain b",
    ),
}


@pytest.mark.parametrize(("content", "message"), FOREIGN.values(), ids=FOREIGN)
def test_other_torch_files(munit: Path, content: object, message: str) -> None:
    torch.save(content, munit / "other.pt")
    assert message in refused(munit, "other.pt")


def test_truncated_files(munit: Path) -> None:
    whole = (munit / "gen_00000010.pt").read_bytes()
    for kept in (1, 100, len(whole) // 2, len(whole) - 1):
        (munit / "short.pt").write_bytes(whole[:kept])
        what = "it is damaged" if kept == 1 else "it is a zip archive whose end is missing"
        assert f"short.pt cannot be read as a torch file, {what}" in refused(munit, "short.pt")


def test_damaged_headers_never_end_in_a_traceback(munit: Path) -> None:
    """Whatever the unpickler stumbles over, it is one line (or harmless)."""
    whole = bytearray((munit / "gen_00000010.pt").read_bytes())
    for position in range(0, 2000, 41):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (munit / "gen_00000010.pt").write_bytes(damaged)
        code, _, err = run_on(munit, "gen_00000010.pt", "--overwrite")
        assert code in (0, 2)
        assert err.count("\n") == (1 if code else 0)


class Payload:
    """Leaves a mark if it is ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self._mark),)


@pytest.mark.parametrize("raw", [False, True], ids=["torch file", "bare pickle"])
def test_code_in_a_file_is_not_run(munit: Path, raw: bool) -> None:
    mark = munit / "ran"
    content: object = {"a": {"enc_content.x": Payload(mark)}, "b": {}}
    if raw:
        (munit / "evil.pt").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, munit / "evil.pt")
    message = refused(munit, "evil.pt")
    assert not mark.exists()
    if not raw:
        assert "holds Python objects (posix.mkdir), which could run arbitrary code" in message


def test_read_only_output(munit: Path) -> None:
    file = munit / "file"
    file.write_text("x")
    arguments = (munit / "gen_00000010.pt", "--config", munit / "config.yaml", "-o", file / "out")
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cannot write" in err


def test_full_disk_leaves_nothing(munit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write_bytes = Path.write_bytes

    def fill_up(path: Path, data: bytes) -> int:
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    assert "the disk is full" in refused(munit)


def test_interrupted_leaves_nothing(munit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    before = sorted(munit.parent.rglob("*"))
    code, out, err = run_on(munit)
    assert (code, out, err.count("\n")) == (130, "", 1)
    assert sorted(munit.parent.rglob("*")) == before


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_missing_extra_is_named(munit: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> object:
        if name == package:
            raise ModuleNotFoundError(name=name)
        return import_module(name)

    import_module = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", gone)
    message = refused(munit)
    assert f"converting checkpoints needs the package '{package}'" in message
    assert "pip install 'munit-edge[train]'" in message
