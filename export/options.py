"""Options of an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from munit_edge.errors import ConfigError
from munit_edge.model.config import ModelConfig, TensorIO
from munit_edge.model.precision import PRECISION_FACTS, Precision, reduced_precisions
from munit_edge.settings import StrictModel

OLDEST_OPSET, NEWEST_OPSET = 18, 22
"""Below 18 torch's exporter would have to rewrite its graphs; JetPack 6's parser reads up to 20."""


class ExportOptions(StrictModel):
    """Options of `munit-edge export onnx`."""

    opset: int = Field(OLDEST_OPSET, ge=OLDEST_OPSET, le=NEWEST_OPSET)
    """ONNX opset; None or omitted: the oldest that has the precision's types."""
    io: TensorIO = "uint8"
    """Images at the graphs' inputs and outputs: uint8 NHWC, or float32 NCHW in [-1, 1]."""
    weights: Literal["average", "live"] | None = None
    """Which weights; None: the EMA if the checkpoint has one."""
    batch: int | None = Field(None, ge=1)
    """Fixed batch; None: any."""
    height: int | None = Field(None, ge=1)
    """Fixed image height in pixels; None: any."""
    width: int | None = Field(None, ge=1)
    """Fixed image width in pixels; None: any."""
    fold: bool = True
    """Decoders with fewer multiplications (`munit_edge.trainer.fast.folding`)."""
    stats_graphs: bool = True
    """Write the `*_stats` graphs too, which tiles and steady video need. With 8 bits they stay in
    float32."""
    precision: Precision = "fp32"
    """Type of the convolutions. `fp16`, `bf16`: tensors of that type. `int8`, `fp8`: Q/DQ pairs."""
    calibration: tuple[Path, ...] = ()
    """Images for the quality gate, and for the calibration of 8-bit types: a data folder with
    trainA and trainB (and testA, testB), or a folder of A and one of B."""
    calibration_images: int = Field(8, ge=1)
    """Maximum number of images of each domain; the gate gets as many others."""
    min_psnr_db: float | None = Field(None, gt=0, le=100)
    """Minimum PSNR of translations against float32 (dB); None: the default of the precision."""
    keep_fp32: tuple[str, ...] = ()
    """Names of layers that stay float32; * stands for any characters."""
    auto_mixed: bool = False
    """Keep the layers that lose most in float32 until the gate passes."""

    @model_validator(mode="before")
    @classmethod
    def _choose_opset(cls, values: Any) -> Any:
        # Before the fields are validated: the default of one follows from another.
        if isinstance(values, dict) and values.get("opset") is None:
            facts = PRECISION_FACTS.get(values.get("precision", "fp32"))
            return {**values, "opset": facts.oldest_opset if facts else OLDEST_OPSET}
        return values

    @model_validator(mode="after")
    def _check(self) -> ExportOptions:
        self._check_precision()
        if (self.height is None) != (self.width is None):
            raise ValueError("fix both height and width (--height, --width), or neither")
        return self

    def _check_precision(self) -> None:
        facts = PRECISION_FACTS[self.precision]
        if facts.min_psnr_db is None:
            given = {
                "--calibration": self.calibration,
                "--min-psnr": self.min_psnr_db is not None,
                "--keep-fp32": self.keep_fp32,
                "--auto-mixed": self.auto_mixed,
            }
            for option, value in given.items():
                if value:
                    raise ValueError(
                        f"{option} has no effect on {self.precision}: add --precision "
                        f"{' or '.join(reduced_precisions(OLDEST_OPSET))}"
                    )
        elif not self.calibration:
            raise ValueError(
                f"--precision {self.precision} is judged by your own images, and none are given: "
                "add --calibration DIR, a folder with trainA and trainB"
            )
        if self.opset < facts.oldest_opset:
            raise ValueError(
                f"--precision {self.precision} needs opset {facts.oldest_opset} or newer and "
                f"--opset is {self.opset}: leave --opset out, or use --precision "
                f"{' or '.join(reduced_precisions(self.opset))}"
            )
        if len(self.calibration) > 2:
            raise ValueError(
                f"--calibration is given {len(self.calibration)} times: give one data folder, or "
                "the folder of A and that of B"
            )

    @property
    def min_psnr(self) -> float:
        """The gate's threshold in dB."""
        default = PRECISION_FACTS[self.precision].min_psnr_db
        assert default is not None, "fp32 has no gate"
        return self.min_psnr_db or default

    @property
    def size_hw(self) -> tuple[int | None, int | None]:
        """Fixed height and width; both None if they are free."""
        return self.height, self.width

    def check_size(self, config: ModelConfig) -> None:
        """Check that the model takes the fixed size.

        Raises:
            ConfigError: the size is too small or not a multiple of the model's factor.
        """
        multiple = config.size_multiple
        minimum = max(config.content_min_size, config.style_min_size)
        for option, size in (("--height", self.height), ("--width", self.width)):
            if size is not None and (size % multiple or size < minimum):
                raise ConfigError(
                    f"{option} {size} cannot be exported: this model takes multiples of "
                    f"{multiple} pixels, at least {minimum}"
                )
