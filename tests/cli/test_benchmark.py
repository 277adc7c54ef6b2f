"""`munit-edge benchmark`."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import outcome
from doctor_reports import report_of
from noise_images import save_noise
from PIL import Image

from munit_edge.benchmark.options import parse_numbers, parse_sizes
from munit_edge.benchmark.report import BenchmarkReport, BenchmarkRow, as_markdown, as_text
from munit_edge.doctor import examine as doctor
from munit_edge.engines.probe import ask
from munit_edge.errors import ConfigError
from munit_edge.export.weights_files import load_graph
from munit_edge.images.bar_chart import COLOURS
from munit_edge.images.difference import mean_squared_error, psnr_db
from munit_edge.model.manifest import MANIFEST_FILE, read_manifest
from munit_edge.translator import Translator

PHOTO_HW = (40, 64)


@pytest.fixture(scope="module")
def examined() -> doctor.Report:
    """A doctor's report where ONNX Runtime is all that there is: importing torch costs seconds."""
    return report_of([ask("onnxruntime")])


run = partial(outcome, "benchmark")


@pytest.fixture(scope="module")
def other_decoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, but its b is decoded as a: what an export that went wrong would be."""
    return _changed(
        tiny_model,
        tmp_path_factory.mktemp("changed") / "other",
        load_graph(tiny_model, read_manifest(tiny_model).graph("decoder", "a")).SerializeToString(),
    )


def _changed(model: Path, path: Path, decoder: bytes) -> Path:
    shutil.copytree(model, path)
    (path / "decoder_b.onnx").write_bytes(decoder)
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    for graph in manifest["graphs"]:
        if graph["file"] == "decoder_b.onnx":
            graph["sha256"] = hashlib.sha256(decoder).hexdigest()
            graph["weights"] = None
    (path / MANIFEST_FILE).write_text(json.dumps(manifest))
    return path


@pytest.fixture(scope="module")
def measured(
    tiny_model: Path,
    other_decoder: Path,
    examined: doctor.Report,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[BenchmarkReport, Path, str]:
    """Two models and an engine that is not here, once: the report, the plot, standard error."""
    folder = tmp_path_factory.mktemp("benchmark")
    save_noise(folder / "photo.png", *PHOTO_HW)
    options = ["--sizes", "40x64", "--batch", "2", "--styles", "3", "--runs", "2"]
    options += ["--engine", "onnxruntime", "--engine", "tensorrt", "--device", "all", "--json"]
    options += ["--image", str(folder / "photo.png"), "--plot", str(folder / "plot.png")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "examine", lambda: examined)
        code, out, err = run(str(tiny_model), str(other_decoder), *options)
    assert code == 0, err
    return BenchmarkReport.model_validate_json(out), folder, err


def _row(report: BenchmarkReport, model: Path, name: str) -> BenchmarkRow:
    (row,) = [
        row
        for row in report.rows
        if (row.subject.model, row.name) == (model.name, name)
        if row.subject.engine == "onnxruntime"
    ]
    return row


def test_every_graph_and_the_translation_are_measured(
    measured: tuple[BenchmarkReport, Path, str], tiny_model: Path
) -> None:
    report, folder, err = measured
    names = ["content_encoder_a", "style_encoder_b", "decoder_b", "a2b"]
    rows = [_row(report, tiny_model, name) for name in names]
    for row in rows:
        assert (row.case.size_hw, row.case.batch, row.case.styles) == (PHOTO_HW, 2, 3)
        assert (row.subject.precision, row.subject.device) == ("fp32", "cpu")
        found = row.measured
        assert found is not None, row.fault
        assert 0 < found.latency.p50_ms <= found.latency.p90_ms <= found.latency.p99_ms
        assert found.latency.n <= 2
        assert found.first_ms > 0
        assert 20 << 20 < found.peak_memory_bytes < 4 << 30
        assert found.gpu_memory_bytes is None
        num = 2 if row.part.endswith("encoder") else 6
        assert row.images_per_s == pytest.approx(1000 * num / found.latency.p50_ms)
    assert rows[3].file_bytes == (rows[0].file_bytes or 0) + (rows[2].file_bytes or 0)
    files = (tiny_model / f"content_encoder_a.{suffix}" for suffix in ("onnx", "weights"))
    assert rows[0].file_bytes == sum(file.stat().st_size for file in files)
    assert report.picture == str(folder / "photo.png")
    assert "looking for engines" in err


def test_psnr_is_that_of_the_translations(
    measured: tuple[BenchmarkReport, Path, str], tiny_model: Path, other_decoder: Path
) -> None:
    report, folder, _ = measured
    assert _row(report, tiny_model, "a2b").is_reference
    assert _row(report, tiny_model, "a2b").psnr_db is None
    images = np.repeat(np.asarray(Image.open(folder / "photo.png"))[None], 2, axis=0)
    results = []
    for model in (tiny_model, other_decoder):
        with Translator.open(model, device="cpu") as translator:
            styles = translator.sample_styles(3)
            results.append(translator.translate(images, "a2b", styles=styles))
    expected = psnr_db(mean_squared_error(results[1], results[0]))
    assert 5 < expected < 90
    assert _row(report, other_decoder, "a2b").psnr_db == pytest.approx(expected, abs=0.01)


def test_an_engine_that_is_not_here_is_a_row_with_its_reason(
    measured: tuple[BenchmarkReport, Path, str],
) -> None:
    report = measured[0]
    absent = [row for row in report.rows if row.subject.engine == "tensorrt"]
    assert [(row.name, row.fault) for row in absent] == [("a2b", "tensorrt is not installed")] * 2
    assert all(row.measured is None for row in absent)


def test_tables_hold_every_row(
    measured: tuple[BenchmarkReport, Path, str], tiny_model: Path
) -> None:
    report = measured[0]
    markdown, text = as_markdown(report), as_text(report)
    (heading,) = [line for line in markdown.splitlines() if line.startswith("| model | prec")]
    assert "PSNR dB" in heading
    assert "### 40 x 64, batch 2, 3 styles" in markdown.splitlines()
    assert "load average" in text
    assert "power mode" in markdown
    rows = [
        line for line in markdown.splitlines() if line.startswith(f"| {tiny_model.name} | fp32")
    ]
    full = [row for row in rows if "failed" not in row]
    assert len(full) == 4
    assert {row.count("|") for row in full} == {heading.count("|")}
    assert [row for row in rows if "failed: tensorrt is not installed" in row]
    assert len([line for line in text.splitlines() if " a2b " in line]) == 4


def test_the_plot_has_a_bar_for_each_translation(
    measured: tuple[BenchmarkReport, Path, str],
) -> None:
    with Image.open(measured[1] / "plot.png") as image:
        chart = np.asarray(image.convert("RGB"))
    for colour in COLOURS[:2]:
        row_has = (chart == np.array(colour, np.uint8)).all(axis=2).sum(axis=1) >= 60
        # A bar is a block of rows; the heading of its column is letters, never so much in a row.
        assert int((np.diff(row_has.astype(int)) == 1).sum()) == 2


def test_a_damaged_graph_and_a_lack_of_time_are_rows(
    tiny_model: Path, examined: doctor.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: examined)
    broken = _changed(tiny_model, tmp_path / "broken", b"no graph")
    options = ["--sizes", "32", "--runs", "1", "--json"]
    code, out, _ = run(str(broken), *options)
    rows = {row.name: row for row in BenchmarkReport.model_validate_json(out).rows}
    assert code == 0, "some were measured"
    assert rows["content_encoder_a"].measured is not None
    for name in ("decoder_b", "a2b"):
        assert "decoder_b.onnx is not a valid ONNX file" in (rows[name].fault or "")
    assert rows["a2b"].psnr_db is None

    # Found first by the processes that measure: they hang.
    (tmp_path / "onnxruntime.py").write_text("import threading; threading.Event().wait()")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = run(str(tiny_model), *options, "--timeout", "0.1")
    faults = [row.fault for row in BenchmarkReport.model_validate_json(out).rows]
    assert code == 1
    assert faults[0] == "it gave no answer within 0.1 s"
    assert faults[2] == "the content encoder failed, and there is nothing to decode"
    assert "nothing could be measured" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "big"], "--sizes 'big' cannot be read"),
        (["--sizes", "0"], "--sizes 0x0 cannot be measured"),
        (["--sizes", "32,64x99999"], "--sizes 64x99999 cannot be measured"),
        (["--batch", "1,-2"], "--batch '1,-2' cannot be read"),
        (["--styles", "0"], "--styles 0 cannot be measured"),
        (["--json", "--markdown"], "choose one"),
        (["--plot", "chart.svg"], "'.svg' is not known"),
        (["--runs", "0"], "runs"),
        (["--device", "tpu"], "--device 'tpu' is not known"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_reported_before_any_work(arguments: list[str], message: str) -> None:
    code, out, err = run("model", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_bad_engines_and_models(
    tiny_model: Path, examined: doctor.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: examined)
    for arguments, message in [
        ([str(tiny_model), "--engine", "tenserrt"], "engine 'tenserrt' is not known"),
        ([str(tiny_model), "--engine", "torch"], "torch has nothing to run"),
        ([str(tmp_path / "nowhere")], "nowhere does not exist"),
        ([str(tiny_model), "--reference", str(tmp_path)], "is no model directory"),
    ]:
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert message in " ".join(err.split())


def test_sizes_and_numbers_are_read() -> None:
    assert parse_sizes("256, 480x640,256") == ((256, 256), (480, 640))
    assert parse_numbers("1, 4,1", "--batch") == (1, 4)
    with pytest.raises(ConfigError, match="commas"):
        parse_numbers("", "--batch")
