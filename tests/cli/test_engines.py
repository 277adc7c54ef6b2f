"""`munit-edge engines` on OpenVINO's compiled graphs; `test_export_trt` has TensorRT's engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import invoke
from noise_images import save_noise

from munit_edge.doctor.selftest import FOLDER, graphs_folder

MODEL = FOLDER / graphs_folder("fp32")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def translate(out: Path) -> None:
    """Translate one image in OpenVINO."""
    image = save_noise(out.with_suffix(".png"))
    words = ("--direction", "a2b", "--styles", "1", "--engine", "openvino", "-o", out)
    result = invoke("translate", MODEL, image, *words)
    assert result.exit_code == 0, result.output


def test_compiled_graphs_are_listed_and_pruned(tmp_path: Path, tiny_model: Path) -> None:
    translate(tmp_path / "first")
    listed = invoke("engines", "list", MODEL)
    assert listed.exit_code == 0
    headings, *rows, total = listed.stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["content_encoder_a", "decoder_b"]
    assert all("fp32 in f32  openvino 20" in row for row in rows)
    assert "not used" not in headings
    assert total.startswith("2 engines, ")
    assert invoke("engines", "list", tiny_model, "--json").stdout == "", "another model"

    lines = [json.loads(line) for line in invoke("engines", "list", "--json").stdout.splitlines()]
    assert [line["sidecar"]["graph"] for line in lines] == ["content_encoder_a", "decoder_b"]
    Path(lines[0]["path"]).write_bytes(b"short")
    pruned = invoke("engines", "prune")
    assert "its header is damaged" in pruned.stdout
    assert "removed 1 engine," in pruned.stdout
    assert "removed 1 engine," in invoke("engines", "prune", MODEL, "--all").stdout
    assert invoke("engines", "list", "--json").stdout == ""


def test_a_damaged_entry_costs_one_line(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    translate(tmp_path / "first")
    (entry,) = (cache / "engines").glob("decoder_b-*.blob")
    data = bytearray(entry.read_bytes())
    data[-100] ^= 1
    entry.write_bytes(data)
    translate(tmp_path / "second")
    assert caplog.text.count("its bytes were changed; it is compiled again") == 1
    results = [next((tmp_path / name).glob("*.png")).read_bytes() for name in ("first", "second")]
    assert results[0] == results[1]
    caplog.clear()
    translate(tmp_path / "third")
    assert not caplog.messages
