"""`munit-edge evaluate` from the outside."""

from __future__ import annotations

import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import invoke
from PIL import Image

from munit_edge.evaluation.report import EvaluationReport
from munit_edge.files.atomic import sha256
from munit_edge.files.names import real_name
from munit_edge.images.sample_data import write_sample_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten test images of each domain, of several sizes, and one file that is none."""
    folder = tmp_path_factory.mktemp("evaluate") / "data"
    random = np.random.default_rng(0)
    for domain in "AB":
        (folder / f"test{domain}").mkdir(parents=True)
        for i in range(10):
            pixels = random.integers(0, 256, (20 + i, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"test{domain}" / f"{i}.png")
    (folder / "testA" / "5b.png").write_bytes(b"no image")
    return folder


evaluate = partial(invoke, "evaluate")


def numbers(report: EvaluationReport) -> list[float]:
    rows = [*report.domains, *report.directions]
    return [value for row in rows for value in row.model_dump().values() if type(value) is float]


def test_both_directions_of_an_exported_model(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    file, plot = tmp_path / "new" / "report.json", tmp_path / "plot.png"
    result = evaluate(tiny_model, "--data", data, "--styles", "2", "--json", file, "--plot", plot)
    assert result.exit_code == 0, result.stderr
    assert f"wrote {plot}" in result.stderr
    with Image.open(plot) as image:
        assert (image.format, image.size) == ("PNG", (1296, 348))
    assert "5b.png is not a supported image" in result.stderr
    assert f"wrote {file}" in result.stderr
    report = EvaluationReport.model_validate_json(file.read_text(encoding="utf-8"))
    assert (report.size, report.styles, report.engine) == (20, 2, "onnxruntime")
    assert [(row.domain, row.pictures) for row in report.domains] == [("a", 10), ("b", 10)]
    assert [row.direction for row in report.directions] == ["a2b", "b2a"]
    assert len(report.unreadable) == 1
    assert all(np.isfinite(numbers(report)))
    shown = result.stdout
    assert "10 + 10 images" in shown
    for row in report.directions:
        assert f"{row.style_use:.3f}" in shown
    assert re.search(r"translations +a2b +b2a", shown)
    propositions = report.propositions
    assert list(propositions.styles) == ["a", "b"]
    accuracy = propositions.content_probe.accuracy
    assert f"{accuracy:.3f}  0.5: content does not show the domain" in shown
    assert propositions.joint is not None
    # Noise comes out of an untrained model smooth: the pairs cannot be alike.
    assert propositions.joint.p_value < 0.05
    assert f"its p-value{propositions.joint.p_value:>23.3f}  below 0.05: they differ" in shown


def test_a_checkpoint_gives_the_numbers_of_its_export(
    tiny_model: Path, tiny_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    found = []
    for model in (tiny_model, tiny_checkpoint):
        file = tmp_path / f"{model.name}.json"
        options = ("--direction", "b2a", "--styles", "2", "--size", "16", "--json", file)
        result = evaluate(model, "--data", data, *options)
        assert result.exit_code == 0, result.stderr
        found.append(EvaluationReport.model_validate_json(file.read_text(encoding="utf-8")))
    exported, trained = found
    assert trained.engine == "torch"
    assert [row.direction for row in exported.directions] == ["b2a"]
    np.testing.assert_allclose(numbers(exported), numbers(trained), rtol=0.01)
    propositions, other = exported.propositions, trained.propositions
    assert propositions.joint is None
    assert list(propositions.translations) == ["b2a"]
    means = [found.styles["b"].mean for found in (propositions, other)]
    np.testing.assert_allclose(*means, atol=1e-3)


def test_domains_of_other_channels_and_sample_data(tiny_sn_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_sample_data(folder, size=16, count=100, seed=0)
    result = evaluate(tiny_sn_model, "--data", folder, "--styles", "2")
    assert result.exit_code == 0, result.stderr
    assert "at 16 x 16 pixels" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "missing"), "data folder missing does not exist: name one that holds testA"),
        (("--data", "file.txt"), "data folder file.txt is not a folder"),
        (("--data", "half"), "half holds testA: evaluation needs testA and testB"),
        (("--data", "empty"), "holds no images that can be used: evaluation needs at least 10"),
        (("--data", "few"), "holds 9 images that can be used"),
        (("--data", "broken"), "10.png is empty"),
        (("--data", "thin", "--size", "64"), "would have 12800000 x 64, 819.2 megapixels"),
        (("--data", "thin", "--max-megapixels", "0.1"), "0.2 megapixels, and 0.1 are allowed"),
        (
            ("--data", "few", "--max-megapixels", "0"),
            "--max-megapixels 0.0: it should be greater than 0",
        ),
        (("--data", "few", "--count", "5"), "count"),
        (("--data", "few", "--plot", "x.pdf"), "format '.pdf' is not known"),
        (("--data", "few", "--styles", "1"), "styles"),
    ],
)
def test_what_cannot_be_measured(
    arguments: tuple[str, ...], words: str, tiny_model: Path, data: Path, working_folder: Path
) -> None:
    Path("file.txt").touch()
    for folder, images in {"half": 10, "empty": 0, "few": 9, "broken": 9}.items():
        for test in ("testA",) if folder == "half" else ("testA", "testB"):
            (working_folder / folder / test).mkdir(parents=True)
            for i in range(images):
                (working_folder / folder / test / f"{i}.png").symlink_to(data / "testB" / "1.png")
    Path("broken/testB/10.png").touch()
    Path("broken/testA/10.png").symlink_to(data / "testB" / "1.png")
    shutil.copytree("broken", "thin", symlinks=True)
    Image.new("L", (200_000, 1)).save("thin/testB/10.png")
    result = evaluate(tiny_model, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def network_files(folder: Path) -> dict[str, Path]:
    from feature_weights import write_inception, write_lpips

    trunk, linear = write_lpips(folder)
    return {
        "features": write_inception(folder / "fid.pth", 1008),
        "classifier": write_inception(folder / "classifier.pth", 3),
        "trunk": trunk,
        "linear": linear,
    }


def test_feature_networks_and_their_names_beside_the_numbers(
    tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    files, report_file = network_files(tmp_path), tmp_path / "report.json"
    options = ("--size", "32", "--styles", "2", "--pairs", "2", "--samples", "2")
    networks = (
        *("--features", files["features"]),
        *("--lpips", files["trunk"], "--lpips", files["linear"]),
        *("--classifier-b", files["classifier"]),
    )
    result = evaluate(tiny_model, "--data", data, *options, *networks, "--json", report_file)
    assert result.exit_code == 0, result.stderr
    report = EvaluationReport.model_validate_json(report_file.read_text(encoding="utf-8"))
    a2b, b2a = report.networks
    assert a2b.fid is not None
    assert a2b.kid is not None
    assert a2b.lpips is not None
    assert a2b.scores is not None
    assert (a2b.lpips.pairs, a2b.scores.translations, a2b.scores.classes) == (20, (10, 2), 3)
    assert b2a.scores is None
    assert a2b.fid.network.sha256 == {"fid.pth": sha256(files["features"])}
    shown = re.sub(r" +", " ", result.stdout)
    assert b2a.fid is not None
    assert f"FID {a2b.fid.value:.3f} {b2a.fid.value:.3f} 0: equal" in shown
    assert f"KID, times 1000 {1000 * a2b.kid.mean:.3f}" in shown
    assert f"LPIPS diversity {a2b.lpips.mean:.3f}" in shown
    assert (
        f"CIS, mean KL {a2b.scores.conditional:.3f} - 0: styles are ignored; at most 1.099" in shown
    )
    assert "FID, KID: Inception-v3, FID network; weights: not known to munit-edge" in shown
    assert f"linear.pth sha256 {sha256(files['linear'])}" in shown

    # What needs no network stays as it is.
    plain = evaluate(tiny_model, "--data", data, *options[:4])
    assert plain.exit_code == 0, plain.stderr
    assert result.stdout.startswith(plain.stdout)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--features missing.pth", "missing.pth does not exist: weights of an Inception-v3"),
        ("--features missing.onnx", "missing.onnx is not a file"),
        ("--features trunk.pth", "trunk.pth has no fc.weight"),
        ("--features text.pth", "text.pth cannot be read as a torch file"),
        ("--lpips trunk.pth", "trunk.pth has no lin0.model.1.weight"),
        ("--lpips trunk.pth --lpips linear.pth --size 24", "24 x 24 pixels and LPIPS with AlexNet"),
        ("--pairs 3", "name its weights (--lpips), or leave out --pairs"),
        ("--samples 3", "name a classifier for the translations' domain"),
        ("--classifier-a classifier.pth --direction a2b", "--direction leaves out"),
    ],
)
def test_networks_that_cannot_be_used(
    options: str, words: str, tiny_model: Path, data: Path, working_folder: Path
) -> None:
    network_files(working_folder)
    Path("text.pth").write_text("no weights")
    result = evaluate(tiny_model, "--data", data, *options.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_names_and_files_that_are_no_images(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    """Names that are not UTF-8 go into the report, and other kinds of files are counted."""
    folder = shutil.copytree(data, tmp_path / os.fsdecode(b"d\xe4ta"))
    (folder / "testA" / "5b.png").rename(folder / "testA" / os.fsdecode(b"br\xf6ken.png"))
    for name in ("x.jxl", "clip.mov"):
        (folder / "testB" / name).touch()
    os.mkfifo(folder / "testB" / "pipe.png")
    file = tmp_path / "report.json"
    result = evaluate(tiny_model, "--data", folder, "--styles", "2", "--json", file)
    assert result.exit_code == 0, result.stderr
    report = EvaluationReport.model_validate_json(file.read_text(encoding="utf-8"))
    assert real_name(report.data) == str(folder)
    assert report.left_out == "1 JPEG XL, 1 video (translate it by itself)"
    faults = " ".join(report.unreadable)
    assert len(report.unreadable) == 2
    assert r"br\xf6ken.png is not a supported image" in faults
    assert "pipe.png is a pipe" in faults
    assert f"warning: left out: {report.left_out}\n" in result.stderr
