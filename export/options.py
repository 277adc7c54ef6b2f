"""What an export wants."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from munit_edge.config import ModelConfig, StrictModel, TensorIO
from munit_edge.errors import ConfigError

OLDEST_OPSET, NEWEST_OPSET = 18, 22
"""Below 18 torch's exporter would have to rewrite its graphs; JetPack 6's parser reads up to 20."""


class ExportOptions(StrictModel):
    """Options of `munit-edge export onnx`."""

    opset: int = Field(OLDEST_OPSET, ge=OLDEST_OPSET, le=NEWEST_OPSET)
    """ONNX operator set."""
    io: TensorIO = "uint8"
    """Pictures at the graphs' borders: uint8 NHWC, or float32 NCHW in [-1, 1]."""
    weights: Literal["average", "live"] | None = None
    """Which weights; None: the average where the checkpoint has one."""
    batch: int | None = Field(None, ge=1)
    """Fixed batch; None: any."""
    height: int | None = Field(None, ge=1)
    """Fixed image height in pixels; None: any."""
    width: int | None = Field(None, ge=1)
    """Fixed image width in pixels; None: any."""

    @model_validator(mode="after")
    def _check(self) -> ExportOptions:
        if (self.height is None) != (self.width is None):
            raise ValueError("fix both height and width (--height, --width), or neither")
        return self

    @property
    def size_hw(self) -> tuple[int | None, int | None]:
        """Fixed height and width, or two times None."""
        return self.height, self.width

    def check_size(self, config: ModelConfig) -> None:
        """See that the model takes the fixed size.

        Raises:
            ConfigError: the size is too small or not a multiple of the model's factor.
        """
        multiple = config.size_multiple
        minimum = max(config.content_min_size, config.style_min_size)
        for option, size in (("--height", self.height), ("--width", self.width)):
            if size is not None and (size % multiple or size < minimum):
                raise ConfigError(
                    f"{option} {size} cannot be exported: this model takes multiples of "
                    f"{multiple} pixels from {minimum} on"
                )
