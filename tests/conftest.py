"""Fixtures that many tests share: tiny seeded models, never trained."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from gpu_tests import GpuTests
from shared_files import shared_folder

from munit_edge.cli import progress
from munit_edge.model.config import ModelConfig

# Before torch is imported. One thread for each process, those that tests start too: these models
# are too small to share, and threads that wait for each other slow a busy machine down many times.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY_CONFIGS = {
    "munit": ModelConfig(width=8, num_res_blocks=1, mlp_dim=16),
    "munit-sn": ModelConfig(
        architecture="munit-sn",
        channels_a=1,
        channels_b=4,
        width=8,
        max_width=24,
        num_downsamples=1,
        num_res_blocks=1,
        num_mlp_layers=2,
        mlp_dim=16,
        style_dim=5,
        padding="replicate",
        pre_activation=True,
    ),
}

LONGEST_FILES = (
    "parity/test_engines.py",
    "parity/test_exported_graphs.py",
    "cli/test_signals.py",
    "cli/test_export.py",
    "docs/test_readme.py",
    "export/test_tensorrt_takes_graphs.py",
    "cli/test_translate.py",
    "trainer/test_ended_runs.py",
    "cli/test_bad_names.py",
    "export/test_model_directory.py",
    "munit_edge/doctor/test_selftest.py",
    "export/test_half_precision.py",
    "trainer/test_loop.py",
    "trainer/fast/test_network_calls.py",
    "export/test_stats_graphs.py",
    "cli/test_doctor.py",
    "trainer/test_distributed.py",
    "benchmarks/test_quality_benchmark.py",
    "tools/test_gpu_check.py",
    "cli/test_translate_folders.py",
    "cli/test_train.py",
    "cli/test_translate_leftovers.py",
    "tools/test_kill_trial.py",
    "tools/test_gpu_tests.py",
)
"""Files that take longest, longest first. Begun last, one would keep one core alone busy."""


def pytest_configure(config: pytest.Config) -> None:
    """Count the tests that need a GPU; the summary says how many of them were run."""
    config.pluginmanager.register(GpuTests(), "gpu-tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: the processes of `make test` take them in this order."""
    root = Path(__file__).parent
    rank = {root / name: index for index, name in enumerate(LONGEST_FILES)}
    gone = [str(path) for path in rank if not path.exists()]
    if gone:
        raise pytest.UsageError(f"LONGEST_FILES names {', '.join(gone)}, which is not there")
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="session")
def tiny_configs() -> dict[str, ModelConfig]:
    """The configurations of the tiny models, by architecture."""
    return TINY_CONFIGS


@pytest.fixture(autouse=True)
def _own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Settings of the person who runs the tests, or of the test before, change no result."""
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", math.inf)  # no lines because time passes
    monkeypatch.setenv("MUNIT_EDGE_DEBUG", "")
    monkeypatch.setenv("MUNIT_EDGE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tmp_path`, as the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_checkpoint(path: Path, config: ModelConfig, seed: int = 0) -> Path:
    """A checkpoint of `config` with seeded random weights, every bias and scale non-zero."""
    import torch

    from munit_edge.trainer.checkpoint import CheckpointInfo, build_generators, save_checkpoint

    torch.manual_seed(seed)
    generators = build_generators(config)
    with torch.no_grad():
        for parameter in generators.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    save_checkpoint(path, config, CheckpointInfo(iteration=7), generators=generators)
    return path


def _exported(
    request: pytest.FixtureRequest, checkpoint: Path, *, stats_graphs: bool = False
) -> Path:
    from munit_edge.export.model_directory import export_model
    from munit_edge.export.options import ExportOptions

    def make(folder: Path) -> None:
        export_model(checkpoint, folder, ExportOptions(stats_graphs=stats_graphs))

    name = str(request.fixturename)
    return shared_folder(request.config, name, make, checkpoint.with_name(name))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `munit` checkpoint, RGB to RGB."""
    return make_checkpoint(tmp_path_factory.mktemp("munit") / "checkpoint", TINY_CONFIGS["munit"])


@pytest.fixture(scope="session")
def tiny_sn_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `munit-sn` checkpoint, grey to RGBA, replicate padding, style_dim 5."""
    return make_checkpoint(tmp_path_factory.mktemp("sn") / "checkpoint", TINY_CONFIGS["munit-sn"])


@pytest.fixture(scope="session")
def tiny_model(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Path:
    """The model directory of `tiny_checkpoint`. Do not write to it."""
    return _exported(request, tiny_checkpoint)


@pytest.fixture(scope="session")
def tiny_stats_model(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> Path:
    """`tiny_model` with the graphs for tiles and steady video. Do not write to it."""
    return _exported(request, tiny_checkpoint, stats_graphs=True)


@pytest.fixture(scope="session")
def tiny_sn_model(request: pytest.FixtureRequest, tiny_sn_checkpoint: Path) -> Path:
    """The model directory of `tiny_sn_checkpoint`. Do not write to it."""
    return _exported(request, tiny_sn_checkpoint)
