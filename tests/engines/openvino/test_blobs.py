"""The cache of compiled graphs: found by new processes, and never a reason for a wrong result."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hang_guard import HANG_S
from noise_images import noise

from munit_edge.doctor.selftest import FOLDER, graphs_folder
from munit_edge.engines.openvino import blobs
from munit_edge.engines.openvino.api import OpenVino
from munit_edge.engines.openvino.blobs import HEADER_BYTES, Blob, BlobHeader, read_header
from munit_edge.engines.openvino.listing import list_blobs, prune_blobs
from munit_edge.engines.openvino.runner import open_openvino
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.model.manifest import read_manifest

MODEL = FOLDER / graphs_folder("fp32")
IMAGE = noise(16, 24)[None]


class Opened:
    """Runs the style encoder of a newly opened model, as a new process does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compiled = 0
        compile_ = OpenVino.compile

        def counted(openvino: OpenVino, *arguments: Any) -> Any:
            self.compiled += 1
            return compile_(openvino, *arguments)

        monkeypatch.setattr(OpenVino, "compile", counted)

    def __call__(
        self, image: np.ndarray[Any, Any] = IMAGE, model: Path = MODEL, **options: Any
    ) -> bytes:
        self.compiled = 0
        with open_openvino(model, "cpu", **options) as graphs:
            codes: bytes = (
                graphs.runner("style_encoder", "b").run({"image": image})["style"].tobytes()
            )
        return codes


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "engines").glob("*.blob"))


def only(cache: Path) -> Path:
    (entry,) = entries(cache)
    return entry


def header(entry: Path) -> BlobHeader:
    with entry.open("rb") as file:
        return read_header(file)


def rewrite(entry: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change an entry's header and leave its blob alone."""
    data = entry.read_bytes()
    facts = json.loads(data[:HEADER_BYTES])
    change(facts)
    entry.write_bytes(json.dumps(facts).encode().ljust(HEADER_BYTES) + data[HEADER_BYTES:])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_compiled_graph_is_found_again_and_gives_the_same_bytes(
    precision: str, run: Opened, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = FOLDER / graphs_folder(precision)  # type: ignore[arg-type]
    first = run(model=model)
    assert run.compiled == 1
    assert run(model=model) == first
    assert run.compiled == 0
    assert not caplog.messages
    found = header(only(cache))
    assert found.graph == "style_encoder_b"
    assert found.key.sizes == {"image": (1, 16, 24, 3)}
    assert only(cache).name.endswith("-1x16x24x3.blob")


def test_first_sizes_and_others_have_entries_of_their_own(run: Opened, cache: Path) -> None:
    images = [IMAGE, noise(24, 16)[None], noise(32, 32)[None]]

    def all_sizes() -> list[bytes]:
        with open_openvino(MODEL, "cpu") as graphs:
            runner = graphs.runner("style_encoder", "b")
            return [runner.run({"image": image})["style"].tobytes() for image in images]

    first = all_sizes()
    assert [path.name.rpartition("-")[2] for path in entries(cache)] == [
        "1x16x24x3.blob",
        "any.blob",
    ]
    run.compiled = 0
    assert all_sizes() == first
    assert run.compiled == 0


def test_the_type_is_in_the_key(run: Opened, cache: Path) -> None:
    exact = run()
    rounded = run(cpu_precision="bf16")
    assert exact != rounded
    assert len(entries(cache)) == 2
    assert (run(), run(cpu_precision="bf16")) == (exact, rounded)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("build", "2031.1.0-1-abc"),
        ("full_name", lambda self, name: "Another Processor"),
        ("capabilities", lambda self, name: frozenset({"FP32", "BF16"})),
    ],
)
def test_another_machine_compiles_for_itself(
    fact: str, value: Any, run: Opened, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    if fact == "build":
        real = OpenVino.__init__

        def make(self: OpenVino) -> None:
            real(self)
            self.build = value

        monkeypatch.setattr(OpenVino, "__init__", make)
    else:
        monkeypatch.setattr(OpenVino, fact, value)
    run()
    assert run.compiled == 1
    assert len(entries(cache)) == 2


def test_other_instructions_or_threads_compile_again(
    run: Opened, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(blobs, "cpu_features", lambda: frozenset({"sse2"}))
    run()
    monkeypatch.setattr(blobs, "usable_cores", lambda: 77)
    run()
    assert len(entries(cache)) == 3


def _flip(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[-100] ^= 1
    entry.write_bytes(data)


def _swap_header(entry: Path) -> None:
    rewrite(entry, lambda facts: facts["key"]["setting"].update(precision="int8"))


def _other_key_with_its_hash(entry: Path) -> None:
    """What a copy of another graph's entry under this name looks like."""

    def change(facts: dict[str, Any]) -> None:
        facts["key"]["setting"]["onnx_sha256"] = "0" * 64
        key = BlobHeader.model_validate_json(json.dumps(facts)).key
        digest = blobs._begin(key)
        digest.update(entry.read_bytes()[HEADER_BYTES:])
        facts["sha256"] = digest.hexdigest()

    rewrite(entry, change)


def _foreign_blob(entry: Path) -> None:
    """A blob that OpenVINO cannot take, with the right hash."""
    data = bytearray(entry.read_bytes())
    data[HEADER_BYTES : HEADER_BYTES + 64] = bytes(64)
    entry.write_bytes(data)

    def change(facts: dict[str, Any]) -> None:
        digest = blobs._begin(header(entry).key)
        digest.update(data[HEADER_BYTES:])
        facts["sha256"] = digest.hexdigest()

    rewrite(entry, change)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a bit": (_flip, "its bytes were changed"),
    "cut off": (lambda entry: os.truncate(entry, entry.stat().st_size // 2), "bytes instead of"),
    "cut off in the header": (lambda entry: os.truncate(entry, 100), "its header is damaged"),
    "empty": (lambda entry: os.truncate(entry, 0), "its header is damaged"),
    "longer": (lambda entry: entry.write_bytes(entry.read_bytes() + b"x"), "bytes instead of"),
    "header": (_swap_header, "it belongs to another graph"),
    "another graph": (_other_key_with_its_hash, "it belongs to another graph"),
    "not a blob": (_foreign_blob, "it is compiled again"),
    "a later format": (
        lambda entry: rewrite(entry, lambda facts: facts.update(format_version=2)),
        "another version of munit-edge",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_reported_and_written_again(
    damage: str, run: Opened, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run()
    spoil, message = DAMAGE[damage]
    spoil(only(cache))
    assert run() == first
    assert run.compiled == 1
    (line,) = caplog.messages
    assert line.startswith("the compiled style_encoder_b in the cache is not used: ")
    assert message in line
    caplog.clear()
    assert run() == first
    assert (run.compiled, caplog.messages) == (0, [])


def test_an_entry_of_another_user_is_not_used(
    run: Opened, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert run() == first
    assert run.compiled == 1
    (line,) = caplog.messages
    assert "belongs to another user" in line


def test_a_header_that_was_changed_with_the_key_is_noticed(run: Opened, cache: Path) -> None:
    """Where no key is asked for, as in a list."""
    run()
    _swap_header(only(cache))
    with only(cache).open("rb") as file, pytest.raises(blobs.BlobError, match="bytes were changed"):
        Blob(file)


@contextlib.contextmanager
def _small_files() -> Iterator[None]:
    """No file above 10 kB can be written, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def _read_only(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> Path:
        raise OSError(30, "Read-only file system")

    (cache / "engines").mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(blobs, "new_partial_folder", refused)


@pytest.mark.parametrize("fault", ["a file", "read-only", "full", "no home"])
def test_a_folder_that_cannot_be_written_costs_one_line(
    fault: str,
    run: Opened,
    cache: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = run()
    shutil.rmtree(cache)
    if fault == "a file":
        cache.write_bytes(b"")
    elif fault == "read-only":
        _read_only(cache, monkeypatch)
    elif fault == "no home":
        monkeypatch.setenv("MUNIT_EDGE_CACHE", "")

        def home() -> Path:
            raise RuntimeError

        monkeypatch.setattr(Path, "home", home)
    with (
        _small_files() if fault == "full" else contextlib.nullcontext(),
        open_openvino(MODEL, "cpu") as graphs,
    ):
        for domain in ("a", "b"):
            runner = graphs.runner("style_encoder", domain)  # type: ignore[arg-type]
            results = [runner.run({"image": i})["style"] for i in (IMAGE, noise(32, 32)[None])]
            if domain == "b":
                assert results[0].tobytes() == expected
    (line,) = caplog.messages
    assert line.startswith("compiled graphs cannot be kept (")
    assert "MUNIT_EDGE_CACHE" in line
    reasons = {"a file": "Not a directory", "read-only": "Read-only", "no home": "no home folder"}
    assert reasons.get(fault, "is the disk full?") in line
    if fault in ("read-only", "full"):
        assert [path.name for path in (cache / "engines").iterdir()] == []


def test_a_read_only_folder_is_read(
    run: Opened, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()

    def refused(*arguments: Any, **options: Any) -> Any:
        raise OSError(30, "Read-only file system")

    for name in ("utime", "mkdir", "unlink", "rename", "replace"):
        monkeypatch.setattr(os, name, refused)
    assert run() == first
    assert (run.compiled, caplog.messages) == (0, [])


PROCESS = """
import sys
from pathlib import Path
import numpy as np
from munit_edge.engines.openvino.runner import open_openvino
from munit_edge.engines.openvino import blobs
if len(sys.argv) > 2:
    import time
    real = blobs.atomic_file
    import contextlib
    @contextlib.contextmanager
    def slow(path):
        with real(path) as partial:
            partial.write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(600)
            yield partial
    blobs.atomic_file = slow
print("ready", flush=True)
sys.stdin.readline()
image = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(1, 16, 24, 3)
with open_openvino(Path(sys.argv[1]), "cpu") as graphs:
    print(graphs.runner("style_encoder", "b").run({"image": image})["style"].tobytes().hex())
"""


def _process(*words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(MODEL), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def test_processes_at_once(cache: Path) -> None:
    processes = [_process() for _ in range(3)]
    outputs = []
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        output, errors = process.communicate(timeout=HANG_S)
        assert (process.returncode, errors) == (0, "")
        outputs.append(output)
    assert len(set(outputs)) == 1
    assert [path.suffix for path in (cache / "engines").iterdir()] == [".blob"]
    assert [blob.unusable for blob in list_blobs()] == [None]


def test_a_process_killed_while_it_writes_leaves_nothing_that_is_used(
    run: Opened, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = _process("slowly")
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.communicate(timeout=HANG_S)
    left = list((cache / "engines").iterdir())
    assert left
    assert all(path.name.startswith(PARTIAL_PREFIX) for path in left)
    assert list_blobs() == []
    run()
    assert (run.compiled, caplog.messages) == (1, [])
    assert list((cache / "engines").iterdir()) == [only(cache)]


def test_what_was_not_used_for_longest_is_removed(
    run: Opened, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(16, 24), (24, 16), (32, 16), (16, 32)]
    for index, (height, width) in enumerate(sizes[:3]):
        run(noise(height, width)[None])
        newest = max(entries(cache), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (index, index))
    # Blobs for other sizes differ by a few bytes.
    total = sum(path.stat().st_size for path in entries(cache)) + 1000
    monkeypatch.setattr(blobs, "MAX_CACHE_BYTES", total)
    run(noise(16, 24)[None])  # used again: no longer the oldest
    run(noise(*sizes[3])[None])
    left = {path.name.rpartition("-")[2] for path in entries(cache)}
    assert left == {"1x16x24x3.blob", "1x32x16x3.blob", "1x16x32x3.blob"}
    monkeypatch.setattr(blobs, "MAX_CACHE_BYTES", 1)
    run(noise(40, 40)[None])
    assert only(cache).name.endswith("-1x40x40x3.blob")


def test_an_entry_in_use_stays(run: Opened, cache: Path) -> None:
    run()
    with open_openvino(MODEL, "cpu") as graphs:
        runner = graphs.runner("style_encoder", "b")
        before = runner.run({"image": IMAGE})["style"]
        assert prune_blobs(everything=True) == []
        np.testing.assert_array_equal(runner.run({"image": IMAGE})["style"], before)
    assert len(prune_blobs(everything=True)) == 1
    assert entries(cache) == []


def test_a_cache_whose_name_is_not_utf8(
    run: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path / "cach\udce9"))
    first = run()
    assert run() == first
    assert (run.compiled, caplog.messages) == (0, [])


def test_a_model_in_the_cache_is_not_read(
    run: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()

    def never(self: OpenVino, path: Path) -> Any:
        raise AssertionError("the graph was read")

    monkeypatch.setattr(OpenVino, "read", never)
    run()


def test_lists_and_prunes_what_this_machine_cannot_use(
    run: Opened, cache: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    run(model=tiny_model)
    run(noise(32, 32)[None])
    assert [blob.unusable for blob in list_blobs()] == [None] * 3
    manifest = read_manifest(MODEL)
    assert len(list_blobs(manifest)) == 2
    _flip(list_blobs(manifest)[0].path)
    (removed,) = prune_blobs()
    assert removed.unusable == "its bytes were changed"
    (renamed,) = list_blobs(manifest)
    renamed.path.rename(renamed.path.with_name(renamed.path.name.replace("encoder_b", "encoder_a")))
    assert [blob.unusable for blob in list_blobs(manifest)] == ["it belongs to another graph"]
    assert len(prune_blobs(manifest)) == 1
    monkeypatch.setattr(OpenVino, "full_name", lambda self, name: "Another Processor")
    (listed,) = list_blobs()
    assert (listed.unusable or "").startswith("compiled for ")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert [blob.unusable for blob in list_blobs()] == [None], "nobody can tell"
    assert prune_blobs() == []
    assert len(prune_blobs(everything=True)) == 1
    assert list_blobs() == []
