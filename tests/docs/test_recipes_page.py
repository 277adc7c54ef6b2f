"""docs/recipes.md lists every recipe, with its counts, and every loss."""

from __future__ import annotations

import re
from pathlib import Path

from munit_edge.model.config import GRAPH_KINDS
from munit_edge.model.cost import model_costs
from munit_edge.trainer.config import LossConfig
from munit_edge.trainer.config_files import read_train_config, recipe_names, recipe_path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_every_recipe_is_listed_with_its_counts() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (`munit.*)\|$", PAGE, re.MULTILINE))
    assert sorted(rows) == recipe_names()
    for name, row in rows.items():
        model = read_train_config(recipe_path(name)).model
        costs = model_costs(model, (256, 256))
        parameters = sum(costs[f"{kind}_a"].parameters for kind in GRAPH_KINDS)
        decoder = costs["decoder_a"]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[0] == f"`{model.architecture}`"
        assert cells[1] == f"{parameters:,}"
        assert cells[2] == f"{decoder.macs / 1e9:.2f}, {decoder.folded_macs / 1e9:.2f}"


def test_every_key_of_losses_is_listed_and_exists() -> None:
    named = set(re.findall(r"`loss\.(\w+)[`=]", PAGE))
    assert named <= set(LossConfig.model_fields)
    assert set(LossConfig.model_fields) - named == {"gan_convention"}


def test_recipes_are_named_with_their_option_everywhere() -> None:
    files = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), *CHECKOUT.glob("tools/*.sh")]
    files += CHECKOUT.glob("trainer/recipes/*.yaml")
    wrong = re.compile(rf"\btrain ({'|'.join(recipe_names())}) -")
    assert [file.name for file in files if wrong.search(file.read_text(encoding="utf-8"))] == []
