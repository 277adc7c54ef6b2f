"""Checked access to published weights by the names of their tensors."""

from __future__ import annotations

from collections.abc import Mapping

from munit_edge.errors import ModelError
from munit_edge.trainer.torch_api import Tensor


class Weights:
    """The tensors of a file as float32; one that is missing or does not fit is named."""

    def __init__(self, tensors: Mapping[str, Tensor], source: str, expected: str) -> None:
        """Wrap the tensors of a file.

        Args:
            tensors: by name, of any floating-point type.
            source: the name of the file or files in messages.
            expected: what is needed here; the end of every message.
        """
        self._tensors = tensors
        self._source = source
        self._expected = expected

    def tensor(self, name: str) -> Tensor:
        """The tensor `name`, of any shape.

        Raises:
            ModelError: there is none.
        """
        if name not in self._tensors:
            raise ModelError(f"{self._source} has no {name}: {self._expected}")
        return self._tensors[name].float()

    def shaped(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor `name`, whose shape follows from the layers before it.

        Raises:
            ModelError: there is none, or it has another shape.
        """
        value = self.tensor(name)
        if tuple(value.shape) != shape:
            raise ModelError(
                f"{self._source}: {name} has shape {tuple(value.shape)} where {shape} follows "
                f"from the layers before it: {self._expected}"
            )
        return value
