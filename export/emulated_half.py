"""The effects of float16 and bfloat16, emulated on a CPU.

Every operator on 16-bit tensors computes in float32, and its result is rounded to the type. Weights
and inputs are 16-bit tensors, so they are rounded already; a result beyond float16's 65504 becomes
infinite, as on a device. True half arithmetic on a CPU takes a hundred times as long. ONNX
Runtime's CPU provider computes half graphs in float32 throughout, which hides an overflow, and has
no bfloat16 convolutions.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from munit_edge.engines.base import AnyArray
from munit_edge.engines.devices import Device
from munit_edge.engines.torch.runner import TorchGraphs, TorchRunner
from munit_edge.export.half_precision import layers
from munit_edge.model.config import ModelConfig, TensorIO
from munit_edge.model.precision import Precision
from munit_edge.trainer.networks import ConvBlock
from munit_edge.trainer.torch_api import Tensor, TorchDispatchMode, nn, torch, tree_map


class HalfArithmetic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, operators on 16-bit tensors compute in float32 and round the result."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator."""
        kwargs = kwargs or {}
        aten = torch.ops.aten
        half = _half_type((args, kwargs))
        # Casts run as they are: the result of one to float32 would be rounded back to 16 bits.
        if func in (aten._to_copy.default, aten.to.dtype) or half is None:
            return func(*args, **kwargs)
        # One rounding for each operator: sums inside a convolution stay float32. A result beyond
        # the type's range becomes infinite in `narrow`.
        widen = functools.partial(_retype, before=half, after=torch.float32)
        narrow = functools.partial(_retype, before=torch.float32, after=half)
        return tree_map(narrow, func(*tree_map(widen, args), **tree_map(widen, kwargs)))


class Watch:
    """Records the largest value of every tensor that a reduced type could lose.

    Attributes:
        largest: largest finite magnitude by tensor, such as `decoder_b.up.0.conv`.
        non_finite: number of NaN and infinite values, for tensors that had any.

    Args:
        generators: what to watch.
        chosen: names of the layers; None: all.
    """

    def __init__(self, generators: nn.ModuleDict, chosen: Collection[str] | None = None) -> None:
        self.largest: dict[str, float] = {}
        self.non_finite: dict[str, int] = {}
        for layer, name, module in _watched(generators):
            if chosen is None or layer in chosen:
                module.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def note(module: nn.Module, args: Any, output: Tensor) -> None:
            values = output.float()
            finite = values.isfinite()
            bad = int((~finite).sum())
            if bad:
                self.non_finite[name] = self.non_finite.get(name, 0) + bad
                values = values[finite]
            if values.numel():
                self.largest[name] = max(self.largest.get(name, 0.0), float(values.abs().max()))

        return note


class HalfRunner(TorchRunner):
    """One graph; its operators on 16-bit tensors compute as in `HalfArithmetic`."""

    def run(self, feeds: Mapping[str, AnyArray], *, keep_on_device: bool = False) -> dict[str, Any]:
        """See `Runner.run`."""
        with HalfArithmetic():  # type: ignore[no-untyped-call]
            return super().run(feeds)


class HalfGraphs(TorchGraphs):
    """Generators on the CPU, typed as they are; 16-bit layers compute as in `HalfArithmetic`.

    Args:
        generators: float32, or typed by `munit_edge.export.half_precision.in_half`.
        config: their configuration.
        precision: that of `generators`.
        io: images at the graphs' borders.
    """

    runner_class = HalfRunner

    def __init__(
        self,
        generators: nn.ModuleDict,
        config: ModelConfig,
        *,
        precision: Precision = "fp32",
        io: TensorIO = "uint8",
    ) -> None:
        # Nothing asks these graphs for the model's identity.
        super().__init__(generators, config, "", Device("cpu"), io=io, precision=precision)


def _watched(generators: nn.ModuleDict) -> Iterator[tuple[str, str, nn.Module]]:
    """Layer, tensor, and the module that computes it."""
    for name, module in layers(generators):
        if not isinstance(module, ConvBlock):
            yield name, f"{name}.output", module
            continue
        yield name, f"{name}.conv", module.conv
        if not isinstance(module.norm, nn.Identity):
            yield name, f"{name}.norm", module.norm


def _floats(values: Any) -> Iterator[Tensor]:
    if isinstance(values, torch.Tensor):
        if values.is_floating_point():
            yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _floats(value)
    elif isinstance(values, dict):
        yield from _floats(list(values.values()))


def _half_type(values: Any) -> torch.dtype | None:
    """The 16-bit type of all floating-point tensors; None if they have another type or several."""
    # Integers (sizes, indices) do not count.
    types = {tensor.dtype for tensor in _floats(values)}
    return types.pop() if types in ({torch.float16}, {torch.bfloat16}) else None


def _retype(value: Any, before: torch.dtype, after: torch.dtype) -> Any:
    is_meant = isinstance(value, torch.Tensor) and value.dtype == before
    return value.to(after) if is_meant else value
