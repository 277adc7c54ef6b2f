from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from munit_edge.errors import InputError, ModelError, OutputError
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.model.config import ModelConfig
from munit_edge.trainer.checkpoint import (
    CheckpointInfo,
    TrainingState,
    Weights,
    average_weights,
    build_discriminators,
    build_generators,
    open_checkpoint,
    save_checkpoint,
)
from munit_edge.trainer.networks import fold_spectral_norm


def test_weights_come_back_exactly(tiny_configs: dict[str, ModelConfig], tmp_path: Path) -> None:
    config = tiny_configs["munit-sn"]
    generators, discriminators = build_generators(config), build_discriminators(config)
    training = TrainingState({"m": torch.arange(3)}, {"iteration": 5})
    info = CheckpointInfo(iteration=5, origin="test", licence_note="none")
    save_checkpoint(
        tmp_path / "c",
        config,
        info,
        generators=generators,
        discriminators=discriminators,
        training=training,
    )
    checkpoint = open_checkpoint(tmp_path / "c")
    assert (checkpoint.config, checkpoint.info) == (config, info)
    torch.manual_seed(99)
    fresh, fresh_dis = build_generators(config), build_discriminators(config)
    checkpoint.load_live_generators(fresh)
    checkpoint.load_discriminators(fresh_dis)
    for mine, theirs in ((generators, fresh), (discriminators, fresh_dis)):
        for key, value in mine.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), key
    state = checkpoint.training_state()
    assert torch.equal(state.tensors["m"], torch.arange(3))
    assert state.values == {"iteration": 5}


def test_average_is_taken_by_default(tiny_configs: dict[str, ModelConfig], tmp_path: Path) -> None:
    config = tiny_configs["munit-sn"]
    live, average = build_generators(config), build_generators(config)
    fold_spectral_norm(average)
    before = {key: value.clone() for key, value in average.state_dict().items()}
    average_weights(average, live, decay=0.75)
    save_checkpoint(tmp_path / "c", config, CheckpointInfo(), generators=live, average=average)
    checkpoint = open_checkpoint(tmp_path / "c")
    key = "a.content_encoder.stem.conv.weight"
    got_live = checkpoint.generators("live").state_dict()[key]
    got_average = checkpoint.generators().state_dict()[key]
    torch.testing.assert_close(got_average, 0.75 * before[key] + 0.25 * got_live)
    assert checkpoint.weights_sha256() == checkpoint.weights_sha256("average")
    assert checkpoint.weights_sha256() != checkpoint.weights_sha256("live")


def test_a_missing_average_names_the_fix(tiny_checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="--weights live"):
        open_checkpoint(tiny_checkpoint).generators("average")


def test_weights_only_cannot_be_resumed(tiny_checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="cannot be resumed"):
        open_checkpoint(tiny_checkpoint).training_state()


def test_run_folder_gives_its_newest_whole_checkpoint(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    for name in ("00000010", "00000200", f"{PARTIAL_PREFIX}99999999"):
        shutil.copytree(tiny_checkpoint, folder / name)
    (folder / "99999998").mkdir()  # no checkpoint.json: not whole
    assert open_checkpoint(tmp_path).path == folder / "00000200"


def test_every_fault_of_the_weights_is_listed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "c"))
    settings = copy / "model.yaml"
    settings.write_text(settings.read_text().replace("style_dim: 8", "style_dim: 6"))
    with pytest.raises(ModelError) as caught:
        open_checkpoint(copy).generators()
    message = str(caught.value)
    for domain in "ab":
        assert f"{domain}.style_encoder.head.weight has shape (8, 32, 1, 1)" in message
        assert f"{domain}.decoder.adain_head.linear.0.weight has shape (16, 8)" in message


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("generators.safetensors", "truncated"),
        ("generators.safetensors", "removed"),
        ("checkpoint.json", "truncated"),
        ("checkpoint.json", "removed"),
        ("model.yaml", "removed"),
        ("model.yaml", "emptied"),
    ],
)
def test_damage_is_named(file: str, damage: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "c"))
    if damage == "removed":
        (copy / file).unlink()
    else:
        kept = 0 if damage == "emptied" else (copy / file).stat().st_size // 2
        os.truncate(copy / file, kept)
    # Without its first file a folder is no checkpoint.
    error = InputError if (file, damage) == ("checkpoint.json", "removed") else ModelError
    with pytest.raises(error, match=r"generators.safetensors|checkpoint|model.yaml"):
        open_checkpoint(copy).generators()


def test_unknown_version(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "c"))
    info = json.loads((copy / "checkpoint.json").read_text())
    (copy / "checkpoint.json").write_text(json.dumps({**info, "format_version": 2}))
    with pytest.raises(ModelError, match="format 2 and this version reads 1"):
        open_checkpoint(copy)


def test_damaged_training_state_is_named(
    tiny_configs: dict[str, ModelConfig], tmp_path: Path
) -> None:
    config = tiny_configs["munit"]
    save_checkpoint(
        tmp_path / "c",
        config,
        CheckpointInfo(),
        generators=build_generators(config),
        training=TrainingState({}, {"iteration": 1}),
    )
    (tmp_path / "c" / "training.json").write_text('{"iteration"')
    with pytest.raises(ModelError, match=r"training\.json is not JSON"):
        open_checkpoint(tmp_path / "c").training_state()


@pytest.mark.parametrize("make", ["nothing", "empty folder"])
def test_no_checkpoint(make: str, tmp_path: Path) -> None:
    path = tmp_path if make == "empty folder" else tmp_path / "none"
    with pytest.raises(InputError, match=r"does not exist|neither a checkpoint nor a run folder"):
        open_checkpoint(path)


def test_existing_checkpoint_is_kept(
    tiny_configs: dict[str, ModelConfig], tiny_checkpoint: Path
) -> None:
    before = (tiny_checkpoint / "generators.safetensors").read_bytes()
    config = tiny_configs["munit"]
    with pytest.raises(OutputError, match="exists already"):
        save_checkpoint(
            tiny_checkpoint, config, CheckpointInfo(), generators=build_generators(config)
        )
    assert (tiny_checkpoint / "generators.safetensors").read_bytes() == before


@pytest.mark.parametrize("file", ["generators", "average"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_named(
    file: str, value: float, tiny_configs: dict[str, ModelConfig], tmp_path: Path
) -> None:
    config = tiny_configs["munit"]
    networks = {"generators": build_generators(config), "average": build_generators(config)}
    fold_spectral_norm(networks["average"])
    bias = networks[file].get_parameter("a.content_encoder.stem.conv.bias")
    with torch.no_grad():
        bias[0] = value
    save_checkpoint(
        tmp_path / "c",
        config,
        CheckpointInfo(),
        generators=networks["generators"],
        average=networks["average"],
    )
    weights: Weights = "average" if file == "average" else "live"
    with pytest.raises(ModelError) as caught:
        open_checkpoint(tmp_path / "c").generators(weights)
    total = len(networks[file].state_dict())
    assert f"{file}.safetensors holds values that are not finite in 1 of {total} tensors " in str(
        caught.value
    )
    assert "(a.content_encoder.stem.conv.bias): the training had diverged" in str(caught.value)
