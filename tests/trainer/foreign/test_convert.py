"""Public checkpoints become checkpoint folders; what does not fit is listed."""

from __future__ import annotations

import gzip
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from foreign_models import IMAGINAIRE_SETTINGS, changed, write_imaginaire_case, write_munit_case
from safetensors.torch import save_file

from munit_edge.errors import ModelError
from munit_edge.trainer.checkpoint import MAX_LISTED, Checkpoint, open_checkpoint
from munit_edge.trainer.foreign.convert import Conversion, convert_checkpoint
from munit_edge.trainer.foreign.hints import implied_pre_activation

SMALL = (1, 32, 32)
Content = dict[str, Any]


@pytest.fixture(scope="session")
def munit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generators' file of a small case, with discriminators. Do not write to its folder."""
    return write_munit_case(tmp_path_factory.mktemp("munit"), shape=SMALL)


@pytest.fixture(scope="session")
def imaginaire(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a small case. Do not write to its folder."""
    return write_imaginaire_case(tmp_path_factory.mktemp("imaginaire"), shape=SMALL)


@pytest.fixture(scope="session")
def imaginaire_global(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the global discriminator. Do not write to its folder."""
    settings = changed(IMAGINAIRE_SETTINGS, {"dis.patch_wise": False})
    return write_imaginaire_case(tmp_path_factory.mktemp("global"), settings, shape=SMALL)


def altered(file: Path, folder: Path, alter: Callable[[Content], Content | None]) -> Path:
    """A copy of a case's folder whose checkpoint `alter` has changed."""
    shutil.copytree(file.parent, folder)
    content = torch.load(file, weights_only=True)
    torch.save(alter(content) or content, folder / file.name)
    return folder / file.name


def converted(file: Path, out: Path, **options: Any) -> Checkpoint:
    convert_checkpoint(file, file.with_name("config.yaml"), out, **options)
    return open_checkpoint(out)


def passed_on(content: Any, munit: Path, file: Path) -> Conversion:
    """Save `content` as a file and convert it with the configuration of `munit`."""
    torch.save(content, file)
    return convert_checkpoint(file, munit.with_name("config.yaml"), file.with_name("found"))


def conversion_error(file: Path, out: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        converted(file, out, **options)
    assert not out.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_munit_is_taken_with_the_discriminators_beside_it(munit: Path, tmp_path: Path) -> None:
    checkpoint = converted(munit, tmp_path / "out")
    assert checkpoint.info.iteration == 10
    assert checkpoint.info.origin == "NVlabs/MUNIT"
    assert "CC BY-NC-SA 4.0" in str(checkpoint.info.licence_note)
    assert checkpoint.has_discriminators
    assert not checkpoint.has_average


def test_iteration_is_not_taken_from_a_name_that_only_looks_like_one(
    munit: Path, tmp_path: Path
) -> None:
    shutil.copy(munit, tmp_path / "edges2shoes.pt")
    conversion = convert_checkpoint(
        tmp_path / "edges2shoes.pt", munit.with_name("config.yaml"), tmp_path / "out"
    )
    assert conversion.iteration is None
    assert conversion.discriminators is None


def test_imaginaire_keeps_average_and_live(imaginaire: Path, tmp_path: Path) -> None:
    checkpoint = converted(imaginaire, tmp_path / "out")
    assert checkpoint.info.iteration == 12345
    assert checkpoint.info.origin == "NVlabs/imaginaire"
    assert "NVIDIA Source Code License" in str(checkpoint.info.licence_note)
    assert checkpoint.has_average
    assert checkpoint.has_discriminators


def test_live_leaves_the_average_out(imaginaire: Path, tmp_path: Path) -> None:
    both = converted(imaginaire, tmp_path / "both", weights="average")
    live = converted(imaginaire, tmp_path / "live", weights="live")
    assert not live.has_average
    name = "a.content_encoder.stem.conv.weight"
    taken = [c.generators().state_dict()[name] for c in (both, live)]
    assert torch.equal(taken[0], both.generators("average").state_dict()[name])
    assert torch.equal(taken[1], both.generators("live").state_dict()[name])
    assert not torch.equal(*taken)


def test_average_must_be_there_when_it_is_asked_for(munit: Path, tmp_path: Path) -> None:
    message = conversion_error(munit, tmp_path / "out", weights="average")
    assert message == f"{munit} has no EMA of the weights: use --weights live"


def test_half_precision_becomes_float32(munit: Path, tmp_path: Path) -> None:
    def halve(content: Content) -> Content:
        return {d: {n: t.half() for n, t in part.items()} for d, part in content.items()}

    checkpoint = converted(altered(munit, tmp_path / "half", halve), tmp_path / "out")
    weights = checkpoint.generators().state_dict().values()
    assert {weight.dtype for weight in weights} == {torch.float32}


def test_generators_alone_are_enough_for_imaginaire(imaginaire: Path, tmp_path: Path) -> None:
    file = altered(imaginaire, tmp_path / "alone", lambda content: content["net_G"])
    checkpoint = converted(file, tmp_path / "out")
    assert checkpoint.has_average
    assert not checkpoint.has_discriminators
    assert checkpoint.info.iteration == 12345  # from the name


def test_optimiser_state_beside_the_networks_is_left_alone(
    imaginaire: Path, tmp_path: Path
) -> None:
    def add(content: Content) -> None:
        content["opt_G"] = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4}]}

    assert converted(altered(imaginaire, tmp_path / "more", add), tmp_path / "out").has_average


def test_every_misfit_is_listed_by_its_foreign_name(munit: Path, tmp_path: Path) -> None:
    def damage(content: Content) -> None:
        del content["a"]["enc_content.model.0.conv.bias"]
        content["b"]["dec.model.9.conv.weight"] = torch.zeros(1)
        content["b"]["mlp.model.0.fc.bias"] = torch.zeros(17)
        content["a"]["enc_style.model.6.bias"][0] = float("nan")
        content["b"]["enc_style.model.6.bias"] = torch.zeros(8, dtype=torch.int64)

    message = conversion_error(altered(munit, tmp_path / "bad", damage), tmp_path / "out")
    assert "missing: a.enc_content.model.0.conv.bias;" in message
    assert "unknown: b.dec.model.9.conv.weight;" in message
    assert "of another shape: b.mlp.model.0.fc.bias (17,) instead of (16,);" in message
    assert message.endswith(
        "not floating-point: b.enc_style.model.6.bias; not finite: a.enc_style.model.6.bias"
    )
    assert "name the configuration that it was trained with" in message


def test_misfits_of_all_networks_come_at_once(imaginaire: Path, tmp_path: Path) -> None:
    gone = {
        "net_G": (
            "module.module.autoencoder_a.mlp.model.0.layers.conv.bias",
            "module.averaged_model.autoencoder_b.style_encoder.model.6.bias",
        ),
        "net_D": ("module.discriminator_b.discriminators.1.layer0.0.layers.conv.weight_u",),
    }

    def damage(content: Content) -> None:
        for part, names in gone.items():
            for name in names:
                del content[part][name]

    message = conversion_error(altered(imaginaire, tmp_path / "bad", damage), tmp_path / "out")
    assert f"missing: {', '.join(n for names in gone.values() for n in names)}" in message


def test_only_known_buffers_are_ignored(munit: Path, tmp_path: Path) -> None:
    """Statistics that normalise nothing may be there; at any other layer they are unknown."""

    def add(content: Content) -> None:
        content["a"]["dec.model.2.norm.running_mean"] = torch.zeros(16)

    message = conversion_error(altered(munit, tmp_path / "bad", add), tmp_path / "out")
    assert "unknown: a.dec.model.2.norm.running_mean" in message


def test_long_lists_are_cut_and_counted(munit: Path, tmp_path: Path) -> None:
    def add(content: Content) -> None:
        content["a"] |= {f"x\n{i}": torch.zeros(1) for i in range(MAX_LISTED + 3)}

    message = conversion_error(altered(munit, tmp_path / "bad", add), tmp_path / "out")
    assert r"'a.x\n19' and 3 more" in message


HINTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "res": ("munit", {"gen.n_res": 1}, "imply gen.n_res = 2, the config says 1"),
    "down": ("munit", {"gen.n_downsample": 3}, "imply gen.n_downsample = 2, the config says 3"),
    "dim": ("munit", {"gen.dim": 16}, "imply gen.dim = 8, the config says 16"),
    "style": ("munit", {"gen.style_dim": 4}, "imply gen.style_dim = 8, the config says 4"),
    "mlp": ("munit", {"gen.mlp_dim": 32}, "imply gen.mlp_dim = 16, the config says 32"),
    "a": ("munit", {"input_dim_a": 1}, "imply input_dim_a = 3, the config says 1"),
    "b": ("munit", {"input_dim_b": 4}, "imply input_dim_b = 3, the config says 4"),
    "prelu": ("munit", {"gen.activ": "prelu"}, "gen.activ = one without learned slopes, "),
    "dis dim": ("munit", {"dis.dim": 4}, "imply dis.dim = 8, the config says 4"),
    "dis layers": ("munit", {"dis.n_layer": 4}, "imply dis.n_layer = 2, the config says 4"),
    "scales": ("munit", {"dis.num_scales": 3}, "imply dis.num_scales = 2, the config says 3"),
    "norm": ("munit", {"dis.norm": "ln"}, "imply dis.norm = none or in, the config says ln"),
    "sn res": ("imaginaire", {"gen.num_res_blocks": 4}, "gen.num_res_blocks = 1, the config says"),
    "sn width": ("imaginaire", {"gen.num_filters": 16}, "gen.num_filters = 8, the config says 16"),
    "sn max": ("imaginaire", {"gen.max_num_filters": 16}, "gen.max_num_filters = 32 or more, the"),
    "sn channels": ("imaginaire", {"gen.num_image_channels": 1}, "gen.num_image_channels = 3, the"),
    "sn latent": ("imaginaire", {"gen.latent_dim": 5}, "gen.latent_dim = 8, the config says 5"),
    "sn mlp": ("imaginaire", {"gen.num_filters_mlp": 8}, "gen.num_filters_mlp = 16, the config"),
    "sn mlp blocks": ("imaginaire", {"gen.num_mlp_blocks": 3}, "gen.num_mlp_blocks = 2, the"),
    "sn style": ("imaginaire", {"gen.num_downsamples_style": 3}, "num_downsamples_style = 4, the"),
    "sn content": (
        "imaginaire",
        {"gen.num_downsamples_content": 3},
        "gen.num_downsamples_content = 2, the config says 3",
    ),
    "sn patch": ("imaginaire", {"dis.patch_wise": False}, "dis.patch_wise = true, the config says"),
    "sn dis": ("imaginaire", {"dis.num_layers": 3}, "dis.num_layers = 2, the config says 3"),
    "sn scales": ("imaginaire", {"dis.num_discriminators": 2}, "dis.num_discriminators = 3, the"),
    "sn dis max": ("imaginaire", {"dis.max_num_filters": 16}, "dis.max_num_filters = 32 or more"),
    "global": ("imaginaire_global", {"dis.patch_wise": True}, "dis.patch_wise = false, the config"),
    "global layers": ("imaginaire_global", {"dis.num_layers": 4}, "dis.num_layers = 2, the config"),
    "global width": ("imaginaire_global", {"dis.num_filters": 4}, "dis.num_filters = 8, the"),
}


@pytest.mark.parametrize(("kind", "changes", "hint"), HINTS.values(), ids=HINTS)
def test_hint_where_config_and_weights_disagree(
    kind: str, changes: dict[str, Any], hint: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    file: Path = request.getfixturevalue(kind)
    settings = yaml.safe_load(file.with_name("config.yaml").read_text())
    config = tmp_path / "other.yaml"
    config.write_text(yaml.safe_dump(changed(settings, changes)))
    with pytest.raises(ModelError) as caught:
        convert_checkpoint(file, config, tmp_path / "out")
    message = str(caught.value)
    assert hint in message
    assert message.count("the weights imply") == 1, "only the setting that was changed"


def test_hint_about_a_cap_on_channels(tmp_path: Path) -> None:
    settings = changed(IMAGINAIRE_SETTINGS, {"gen.max_num_filters": 24})
    file = write_imaginaire_case(tmp_path / "case", settings, shape=SMALL)
    file.with_name("config.yaml").write_text(yaml.safe_dump(IMAGINAIRE_SETTINGS))
    message = conversion_error(file, tmp_path / "out")
    assert "the weights imply gen.max_num_filters = 24, the config says 32" in message


def test_hint_about_weights_without_spectral_norm(imaginaire: Path, tmp_path: Path) -> None:
    def fold(content: Content) -> None:
        live = {n.replace("weight_orig", "weight"): t for n, t in content["net_G"].items()}
        content["net_G"] = {n: t for n, t in live.items() if not n.endswith(("_u", "_v"))}

    message = conversion_error(altered(imaginaire, tmp_path / "bad", fold), tmp_path / "out")
    assert "the weights imply gen.weight_norm_type = none, the config says spectral" in message


@pytest.mark.parametrize("pre_act", [True, False])
def test_note_when_the_order_of_tensors_contradicts_pre_act(pre_act: bool, tmp_path: Path) -> None:
    settings = changed(IMAGINAIRE_SETTINGS, {"gen.pre_act": pre_act})
    file = write_imaginaire_case(tmp_path / "case", settings, shape=SMALL)
    right = convert_checkpoint(file, file.with_name("config.yaml"), tmp_path / "right")
    assert right.notes == []
    contrary = changed(IMAGINAIRE_SETTINGS, {"gen.pre_act": not pre_act})
    file.with_name("config.yaml").write_text(yaml.safe_dump(contrary))
    wrong = convert_checkpoint(file, file.with_name("config.yaml"), tmp_path / "wrong")
    assert len(wrong.notes) == 1
    assert f"suggests gen.pre_act = {str(pre_act).lower()}, but the config says" in wrong.notes[0]


def test_sorted_names_say_nothing_about_pre_act(imaginaire: Path) -> None:
    names = torch.load(imaginaire, weights_only=True)["net_G"]
    assert implied_pre_activation(names) is True
    assert implied_pre_activation(sorted(names)) is None


def test_weights_saved_under_two_wrappers_are_refused(imaginaire: Path, tmp_path: Path) -> None:
    def double(content: Content) -> None:
        live = {n: t for n, t in content["net_G"].items() if ".module." in n}
        content["net_G"] |= {"other." + n: t for n, t in live.items()}

    message = conversion_error(altered(imaginaire, tmp_path / "bad", double), tmp_path / "out")
    assert "live weights of domain a more than once, under module.module.autoencoder_a." in message


# ---------------------------------------------------------------------------------------------
# The same networks as people pass them on


def prefixed(content: Content, before: str) -> Content:
    return {
        domain: {before + name: value for name, value in tensors.items()}
        for domain, tensors in content.items()
    }


def compiled_inside(content: Content) -> Content:
    """As after `gen.enc_content = torch.compile(gen.enc_content)`."""
    return {
        domain: {
            name.replace("enc_content.", "enc_content._orig_mod."): value
            for name, value in tensors.items()
        }
        for domain, tensors in content.items()
    }


def flat(content: Content, before: str = "") -> dict[str, Any]:
    return {
        f"{before}{domain}.{name}": value
        for domain, tensors in content.items()
        for name, value in tensors.items()
    }


PASSED_ON: dict[str, Callable[[Content], Any]] = {
    "DataParallel": lambda gen: prefixed(gen, "module."),
    "twice": lambda gen: prefixed(gen, "module.module."),
    "torch.compile": lambda gen: prefixed(gen, "_orig_mod."),
    "both": lambda gen: prefixed(gen, "_orig_mod.module."),
    "compiled inside": compiled_inside,
    "around the domains": lambda gen: {f"module.{k}": v for k, v in flat(gen).items()},
    "flat": flat,
    "whole trainer": lambda gen: flat(gen, "gen_"),
    "state_dict": lambda gen: {"state_dict": gen},
    "gen": lambda gen: {"gen": gen, "epoch": 3},
    "model.gen": lambda gen: {"model": {"gen": gen}},
    "net_G of MUNIT": lambda gen: {"net_G": None, "generators": gen},
    "average alone": lambda gen: {"ema": gen},
    "swa_utils": lambda gen: {
        domain: {f"module.{name}": v for name, v in tensors.items()} | {"n_averaged": torch.ones(1)}
        for domain, tensors in gen.items()
    },
    "half": lambda gen: {d: {n: v.half() for n, v in t.items()} for d, t in gen.items()},
    "double": lambda gen: {d: {n: v.double() for n, v in t.items()} for d, t in gen.items()},
    "strided": lambda gen: {
        d: {n: v.transpose(0, -1).contiguous().transpose(0, -1) for n, v in t.items()}
        for d, t in gen.items()
    },
    "batch counters": lambda gen: {
        d: {**t, "enc_content.model.0.norm.num_batches_tracked": torch.tensor(0)}
        for d, t in gen.items()
    },
}


@pytest.mark.parametrize("name", PASSED_ON)
def test_other_ways_to_save_the_same_networks(name: str, munit: Path, tmp_path: Path) -> None:
    content = torch.load(munit, weights_only=True)
    expected = convert_checkpoint(munit, munit.parent / "config.yaml", tmp_path / "expected")
    found = passed_on(PASSED_ON[name](content), munit, tmp_path / "gen_7.pt")
    assert found.iteration == 7
    tolerance = 1e-3 if name == "half" else 0.0
    theirs = found.generators.state_dict()
    for key, value in expected.generators.state_dict().items():
        torch.testing.assert_close(theirs[key], value, rtol=tolerance, atol=tolerance)


def test_what_lies_beside_the_networks_is_named(munit: Path, tmp_path: Path) -> None:
    content = torch.load(munit, weights_only=True)
    extra = {"iteration": 5, "config": {"a": 1}, "gen_opt": {"state": {}, "param_groups": []}}
    found = passed_on({**content, **extra}, munit, tmp_path / "last.pt")
    assert found.iteration == 5
    assert found.notes == ["left out of last.pt: 'iteration', 'config', 'gen_opt'"]


def test_a_moving_average_beside_the_live_weights(munit: Path, tmp_path: Path) -> None:
    content = torch.load(munit, weights_only=True)
    average = {d: {n: v + 1 for n, v in t.items()} for d, t in content.items()}
    found = passed_on({"gen": content, "gen_ema": average}, munit, tmp_path / "last.pt")
    assert found.average is not None
    live, moved = found.generators.state_dict(), found.average.state_dict()
    assert all(bool((moved[name] == value + 1).all()) for name, value in live.items())


def test_discriminators_in_the_same_file(munit: Path, tmp_path: Path) -> None:
    both = {
        "gen": torch.load(munit, weights_only=True),
        "dis": torch.load(munit.with_name("dis_00000010.pt"), weights_only=True),
    }
    found = passed_on(both, munit, tmp_path / "all.pt")
    assert found.discriminators is not None


def test_safetensors_whatever_the_name(munit: Path, tmp_path: Path) -> None:
    tensors = {n: v.contiguous() for n, v in flat(torch.load(munit, weights_only=True)).items()}
    save_file(tensors, tmp_path / "gen_3.pt")
    found = convert_checkpoint(
        tmp_path / "gen_3.pt", munit.parent / "config.yaml", tmp_path / "found"
    )
    assert found.iteration == 3
    assert found.notes == []


@pytest.mark.parametrize("name", [f"gen_{'9' * 44}.pt", "last.pt"])
def test_numbers_that_are_no_iteration(name: str, munit: Path, tmp_path: Path) -> None:
    content = torch.load(munit, weights_only=True) | {"iteration": 2**200}
    found = passed_on(content, munit, tmp_path / name)
    assert found.iteration is None
    assert open_checkpoint(tmp_path / "found").info.iteration == 0


REFUSED: dict[str, tuple[Callable[[Content], Any], str]] = {
    "one domain": (lambda gen: {"a": gen["a"]}, "holds the generators of domain a only"),
    "the other": (lambda gen: {"b": gen["b"]}, "holds the generators of domain b only"),
    "one network": (lambda gen: gen["a"], "holds one generator of an unknown domain"),
    "wrapped": (lambda gen: prefixed(gen, "module.")["b"], "holds one generator of an unknown"),
    "capitals": (lambda gen: {"A": gen["a"], "B": gen["b"]}, "holds generators under 'A', 'B'"),
    "numbers": (lambda gen: {0: gen["a"], 1: gen["b"]}, "holds generators under '0', '1'"),
    "twice": (lambda gen: {"old": gen, "new": gen}, "more than once, under 'old', 'new'"),
    "twice in one place": (
        lambda gen: gen | {f"gen_{domain}": gen[domain] for domain in gen},
        "generators more than once, such as 'gen_a.enc_content",
    ),
    "twice, wrapped": (
        lambda gen: {"a": gen["a"] | prefixed(gen, "module.")["a"], "b": gen["b"]},
        "generators more than once, such as 'a.module.enc_content",
    ),
    "optimisers": (
        lambda gen: {k: {"state": {}, "param_groups": [{"lr": 0.1}]} for k in ("gen", "dis")},
        "holds optimiser states and no networks",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_have_messages_of_their_own(name: str, munit: Path, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        passed_on(change(torch.load(munit, weights_only=True)), munit, tmp_path / "last.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite(value: float, munit: Path, tmp_path: Path) -> None:
    content = torch.load(munit, weights_only=True)
    for domain in "ab":
        tensors = content[domain]
        tensors["mlp.model.0.fc.bias"] = tensors["mlp.model.0.fc.bias"].double() * 0 + value
    with pytest.raises(ModelError) as caught:
        passed_on(content, munit, tmp_path / "last.pt")
    message = str(caught.value)
    assert (
        "not finite in 2 of 100 tensors (a.mlp.model.0.fc.bias, b.mlp.model.0.fc.bias)" in message
    )
    assert "had diverged; use an earlier checkpoint" in message
    assert "config" not in message


OTHER_BYTES = {
    "empty": (b"", "it is empty"),
    "web page": (b"<!DOCTYPE html><html>", "it is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "gzip": (gzip.compress(b"x"), "compressed with gzip"),
    "pickle": (pickle.dumps({"a": {}}), "a pickle that torch did not write"),
    "cut zip": (b"PK\x03\x04" + bytes(100), "a zip archive whose end is missing"),
    "tar": (bytes(257) + b"ustar" + bytes(300), "a tar archive"),
    "noise": (bytes(range(7, 255)), "damaged or something else"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "damaged or something else"),
    "cut pickle": (b"\x80\x02}", "a pickle that torch did not write"),
}


@pytest.mark.parametrize("name", OTHER_BYTES)
def test_files_of_other_kinds(name: str, munit: Path, tmp_path: Path) -> None:
    content, message = OTHER_BYTES[name]
    (tmp_path / "gen.pt").write_bytes(content)
    with pytest.raises(ModelError, match=f"gen.pt cannot be read as a torch file.*{message}"):
        convert_checkpoint(tmp_path / "gen.pt", munit.parent / "config.yaml", tmp_path / "out")
