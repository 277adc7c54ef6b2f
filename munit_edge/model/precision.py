"""The precisions of an export: one table with everything that distinguishes them.

A new precision is a row here and a name in `Precision`, and code in `munit_edge.export` only if its
family is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Family = Literal["float32", "half", "eight-bit"]
"""How graphs are typed: float32; 16-bit tensors; or Q/DQ pairs around the convolutions."""


@dataclass(frozen=True)
class Tolerance:
    """How far outputs may be from the expected ones."""

    levels: float
    """Of an image, in 8-bit levels."""
    part: float
    """Of a code, relative to its largest magnitude (at least 1)."""

    def of_code(self, largest: float) -> float:
        """How far a code may be off, absolutely.

        Args:
            largest: its largest magnitude; near zero a relative error means nothing.
        """
        return self.part * max(1.0, largest)


@dataclass(frozen=True)
class PrecisionFacts:
    """What distinguishes one precision."""

    family: Family
    """How its graphs are typed."""
    oldest_opset: int
    """First ONNX opset that has its types: Conv in bfloat16, Q/DQ in float8."""
    dtype: str
    """Type that the convolutions multiply, as torch calls it."""
    largest: float
    """Largest number of that type that is used: int8's range is symmetric, without -128."""
    content_dtype: Literal["float16", "float32"]
    """Type of content codes between graphs. NumPy has no bfloat16."""
    min_psnr_db: float | None
    """What the quality gate asks for against float32 (dB); None: there is no gate."""
    parity: Tolerance | None
    """Exported graphs against torch; None: its float32 graphs are checked before they are
    quantised."""
    expected_exactly: bool
    """Whether the graphs define their outputs, whatever the engine rounds by itself."""
    on_cpu: Tolerance
    """The self-test's graphs on a CPU."""
    on_gpu: Tolerance
    """The self-test's graphs on a GPU."""
    oldest_capability: tuple[int, int] | None = None
    """First NVIDIA GPUs that compute in the type; None: all do."""


_EXACT = Tolerance(levels=1.0, part=1e-4)
"""float32 on a CPU: a value near one half may round either way."""
_LOOSE = Tolerance(levels=4.0, part=2e-2)
"""Of a GPU, where the order of sums differs: none was measured yet."""

PRECISION_FACTS: dict[Precision, PrecisionFacts] = {
    "fp32": PrecisionFacts(
        family="float32",
        oldest_opset=18,
        dtype="float32",
        largest=3.4028234663852886e38,
        content_dtype="float32",
        min_psnr_db=None,
        parity=_EXACT,
        expected_exactly=False,
        on_cpu=_EXACT,
        on_gpu=_LOOSE,
    ),
    "fp16": PrecisionFacts(
        family="half",
        oldest_opset=18,
        dtype="float16",
        largest=65504.0,
        content_dtype="float16",
        min_psnr_db=45.0,
        # ONNX Runtime's CPU provider computes in float32 between its casts, the networks in torch
        # round after every operator: 8 units in the last place of float16's 11 bits.
        parity=Tolerance(levels=4.0, part=2.0**-7),
        expected_exactly=False,
        on_cpu=Tolerance(levels=2.0, part=5e-3),  # measured: 1 level, 1.2e-3
        on_gpu=_LOOSE,
    ),
    "bf16": PrecisionFacts(
        family="half",
        oldest_opset=22,
        dtype="bfloat16",
        largest=3.3895313892515355e38,
        content_dtype="float32",
        min_psnr_db=35.0,  # 3 bits fewer than fp16: 9 to 11 dB where it was measured
        parity=_EXACT,  # float32 copies of the files are checked
        expected_exactly=False,
        on_cpu=Tolerance(levels=4.0, part=4e-2),  # measured: 1 level, 9e-3
        on_gpu=Tolerance(levels=4.0, part=4e-2),
        oldest_capability=(8, 0),  # Ampere
    ),
    # 8-bit numbers jump where they are rounded. With all steps 1e-4 larger or smaller int8 moved by
    # 3 levels and 1.8e-2, fp8 by 4 levels and 2e-5; with steps 1e-3 off, as other kernels may be,
    # int8 by 4 levels and 2.3e-2, fp8 by 13 levels and 0.13. The same graphs in fp32 are 4 levels
    # and 3e-2 from int8, 18 levels and 0.14 from fp8.
    "int8": PrecisionFacts(
        family="eight-bit",
        oldest_opset=18,
        dtype="int8",
        largest=127.0,
        content_dtype="float32",
        min_psnr_db=30.0,
        parity=None,
        expected_exactly=True,
        on_cpu=Tolerance(levels=3.0, part=2.5e-2),
        on_gpu=Tolerance(levels=6.0, part=5e-2),
    ),
    "fp8": PrecisionFacts(
        family="eight-bit",
        oldest_opset=19,
        dtype="float8_e4m3fn",
        largest=448.0,
        content_dtype="float32",
        min_psnr_db=30.0,  # it replaces int8
        parity=None,
        expected_exactly=True,
        on_cpu=Tolerance(levels=4.0, part=2.5e-2),
        on_gpu=Tolerance(levels=16.0, part=0.15),
        oldest_capability=(8, 9),  # Ada
    ),
}


def reduced_precisions(opset: int) -> tuple[Precision, ...]:
    """The precisions with a quality gate whose types an opset has."""
    return tuple(
        name
        for name, facts in PRECISION_FACTS.items()
        if facts.min_psnr_db is not None and facts.oldest_opset <= opset
    )
