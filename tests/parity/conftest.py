"""The cases that parity is tested on, from two places, with the same tests for both.

    reference  see `reference_cases`
    own        made on the spot by `foreign_models`, for settings that the reference leaves out

A test that takes the argument `munit_case` or `imaginaire_case` runs once for each case of that
kind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign_models import (
    IMAGINAIRE_SETTINGS,
    MUNIT_SETTINGS,
    changed,
    write_imaginaire_case,
    write_munit_case,
)
from reference_cases import Case, find_cases, reference_folder

OWN_CASES: dict[str, dict[str, Callable[[Path], Path]]] = {
    "munit_case": {
        "prelu_replicate_layer_norm": lambda folder: write_munit_case(
            folder,
            changed(
                MUNIT_SETTINGS,
                {
                    "gen.activ": "prelu",
                    "gen.pad_type": "replicate",
                    "gen.n_downsample": 1,
                    "dis.activ": "prelu",
                    "dis.norm": "ln",
                    "dis.pad_type": "replicate",
                    "input_dim_a": 1,
                    "input_dim_b": 4,
                },
            ),
            shape=(1, 32, 48),
        ),
        "tanh_zero_instance_norm": lambda folder: write_munit_case(
            folder,
            changed(
                MUNIT_SETTINGS,
                {
                    "gen.activ": "tanh",
                    "gen.pad_type": "zero",
                    "gen.n_downsample": 3,
                    "gen.n_res": 1,
                    "gen.style_dim": 3,
                    "dis.activ": "relu",
                    "dis.norm": "in",
                    "dis.n_layer": 3,
                    "dis.pad_type": "zero",
                },
            ),
            shape=(3, 48, 64),
            torch_03=True,
        ),
        "selu_without_discriminators": lambda folder: write_munit_case(
            folder, changed(MUNIT_SETTINGS, {"gen.activ": "selu"}), discriminators=False
        ),
    },
    "imaginaire_case": {
        "post_activation_without_average": lambda folder: write_imaginaire_case(
            folder,
            changed(
                IMAGINAIRE_SETTINGS,
                {
                    "gen.pre_act": None,
                    "gen.num_mlp_blocks": 3,
                    "gen.num_res_blocks": 2,
                    "gen.num_downsamples_style": 3,
                    "gen.num_image_channels": 1,
                    "dis.num_image_channels": 1,
                    "dis.num_discriminators": 2,
                },
            ),
            shape=(2, 32, 48),
            average=None,
        ),
        "narrow_global_spectral_average": lambda folder: write_imaginaire_case(
            folder,
            changed(
                IMAGINAIRE_SETTINGS,
                {
                    # Less than four times num_filters: the style encoder has no such limit.
                    "gen.max_num_filters": 12,
                    "gen.num_image_channels": 4,
                    "gen.latent_dim": 5,
                    "dis.patch_wise": False,
                    "dis.image_channels": 4,
                    "dis.max_num_filters": 16,
                    "dis.num_layers": 3,
                },
            ),
            shape=(2, 48, 32),
            average="spectral",
            wrapped=False,
        ),
        "one_downsampling": lambda folder: write_imaginaire_case(
            folder,
            changed(
                IMAGINAIRE_SETTINGS,
                {"gen.pre_act": False, "gen.num_downsamples_content": 1, "dis.patch_wise": False},
            ),
            discriminators=False,
        ),
    },
}


EXPORTING = [Path(__file__).with_name(n) for n in ("test_exported_graphs.py", "test_engines.py")]
"""Files whose tests export the case, which takes longest."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One reference case of each release is exported by `make test`; the others are `slow`.

    The networks of every case are compared in test_networks.py.
    """
    seen = set()
    for item in items:
        if not isinstance(item, pytest.Function) or item.path not in EXPORTING:
            continue
        case = item.callspec.id
        test = (item.path.name, item.originalname)
        is_first = case.startswith("reference") and test not in seen
        seen.add(test)
        if not is_first:
            item.add_marker("slow")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument in OWN_CASES:
        if argument in metafunc.fixturenames:
            own = [pytest.param(name, id=f"own-{name}") for name in OWN_CASES[argument]]
            params = [*_reference_params(argument), *own]
            # It takes longest, and test_exported_graphs.py has every case in every engine, too.
            if find_cases(reference_folder()) and metafunc.module.__file__ == str(EXPORTING[1]):
                params = _reference_params(argument)
                if "stats" in metafunc.function.__name__:  # six graphs more
                    params = params[:1]
            metafunc.parametrize(argument, params, indirect=True, scope="session")


def _reference_params(argument: str) -> list[Any]:
    folder = reference_folder()
    cases = find_cases(folder)
    if not cases:
        reason = f"no reference cases in {folder}: set MUNIT_EDGE_REFERENCE"
        return [pytest.param(None, id="reference", marks=pytest.mark.skip(reason=reason))]
    found = [c for c in cases if (c.is_munit if argument == "munit_case" else c.is_imaginaire)]
    return [pytest.param(case, id=f"reference-{case.name}") for case in found]


@pytest.fixture(scope="session")
def munit_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return _case("munit_case", request.param, tmp_path_factory)


@pytest.fixture(scope="session")
def imaginaire_case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    return _case("imaginaire_case", request.param, tmp_path_factory)


def _case(argument: str, found: Case | str, tmp_path_factory: pytest.TempPathFactory) -> Case:
    if isinstance(found, Case):
        return found
    folder = tmp_path_factory.mktemp("own") / found
    OWN_CASES[argument][found](folder)
    return Case(folder)
