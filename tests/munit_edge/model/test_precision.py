"""The table of precisions against what torch and ONNX say of the types."""

from __future__ import annotations

from typing import get_args

import onnx
import pytest
import torch

from munit_edge.export.options import NEWEST_OPSET, OLDEST_OPSET, ExportOptions
from munit_edge.model.precision import (
    PRECISION_FACTS,
    PRECISIONS,
    Precision,
    Tolerance,
    reduced_precisions,
)


def test_the_type_names_the_rows() -> None:
    assert tuple(PRECISION_FACTS) == PRECISIONS == get_args(Precision)


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_largest_number_is_that_of_the_type(name: Precision) -> None:
    facts = PRECISION_FACTS[name]
    dtype: torch.dtype = getattr(torch, facts.dtype)
    limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    assert facts.largest == limits.max


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_oldest_opset_is_the_first_that_has_the_type(name: Precision) -> None:
    """Conv has the type that the graphs compute in; 8-bit graphs have it in QuantizeLinear."""
    facts = PRECISION_FACTS[name]
    named = {"float32": "float", "float8_e4m3fn": "float8e4m3fn"}.get(facts.dtype, facts.dtype)
    # Up to this opset the parameter of the output has this name.
    operator, parameter = ("QuantizeLinear", "T2") if facts.family == "eight-bit" else ("Conv", "T")

    def has_it(opset: int) -> bool:
        constraints = onnx.defs.get_schema(operator, opset).type_constraints
        (types,) = (c.allowed_type_strs for c in constraints if c.type_param_str == parameter)
        return f"tensor({named})" in types

    opsets = range(OLDEST_OPSET, NEWEST_OPSET + 1)
    assert facts.oldest_opset == next(filter(has_it, opsets))


@pytest.mark.parametrize("name", reduced_precisions(NEWEST_OPSET))
def test_an_export_takes_its_defaults_from_the_table(name: Precision) -> None:
    options = ExportOptions.model_validate({"precision": name, "calibration": ["photos"]})
    assert options.opset == PRECISION_FACTS[name].oldest_opset
    assert options.min_psnr == PRECISION_FACTS[name].min_psnr_db


def test_the_gate_is_for_all_but_float32() -> None:
    assert set(PRECISIONS) - set(reduced_precisions(NEWEST_OPSET)) == {"fp32"}
    assert set(reduced_precisions(OLDEST_OPSET)) == {"fp16", "int8"}


def test_a_small_code_is_not_held_to_a_relative_error() -> None:
    tolerance = Tolerance(levels=1.0, part=0.5)
    assert tolerance.of_code(0.0) == 0.5
    assert tolerance.of_code(4.0) == 2.0
