"""Nearest-neighbour upsampling by 2 and the 5x5 convolution after it, in fewer multiplications.

Upsampling repeats every pixel, so a 5x5 window after it sees 3x3 different pixels. Output row
2j + p reads the low-resolution rows floor((2j + p + t) / 2) for the taps t = -2..2: taps that read
the same row are added up beforehand. What remains is a 3x3 convolution at the low resolution with
four times the outputs, one set for each phase (p, q), whose pixels are then interleaved: 9
multiplications instead of 25.

Zeros and replicated pixels are the same before and after upsampling. A reflection is not: it shows
the second pixel where replication shows the first, two pixels outside, which only the outermost
line of each side sees, through its outermost tap. So the layer replicates, and adds the difference
to those four lines.

Shape legend:
    B           batch
    I, O        channels in and out
    h, w        low-resolution height and width
"""

from __future__ import annotations

from typing import NamedTuple

from munit_edge.trainer.torch_api import F, Tensor, nn, torch


class UpConv2d(nn.Conv2d):
    """Nearest-neighbour upsampling by 2 and a convolution after it."""

    folded = False
    """Compute it as `up_convolution`, for kernel 5: the same to rounding, in less time. The weight
    stays that of the convolution, and gradients reach it."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, h, w] -> [B, O, 2 * h, 2 * w]."""
        if self.folded:
            return up_convolution(x, fold_weights(self), self.padding_mode)
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def fold_upsampling(networks: nn.Module, folded: bool = True) -> None:
    """Set `UpConv2d.folded` in all of `networks`."""
    for module in networks.modules():
        if isinstance(module, UpConv2d):
            module.folded = folded


class FoldedWeights(NamedTuple):
    """Weights of `up_convolution`, differentiable functions of the 5x5 weight."""

    weight: Tensor
    """[4 * O, I, 3, 3]: O outputs for each of the phases (0, 0), (0, 1), (1, 0), (1, 1)."""
    bias: Tensor
    """[4 * O]."""
    edge_rows: Tensor | None
    """[2 * O, I, 1, 5]: first and last row of the 5x5 weight; None where nothing is reflected."""
    edge_columns: Tensor | None
    """[2 * O, I, 5, 1]: first and last column."""


def fold_weights(conv: nn.Conv2d) -> FoldedWeights:
    """The weights with which `up_convolution` computes an `UpConv2d` of kernel 5."""
    weight, bias = conv.weight, conv.bias
    assert bias is not None
    assert conv.kernel_size == (5, 5)
    phases = [both for rows in _added_taps(weight, 2) for both in _added_taps(rows, 3)]
    edge_rows = edge_columns = None
    if conv.padding_mode == "reflect":
        edge_rows = torch.cat([weight[:, :, :1], weight[:, :, 4:]])
        edge_columns = torch.cat([weight[..., :1], weight[..., 4:]])
    return FoldedWeights(torch.cat(phases), bias.repeat(4), edge_rows, edge_columns)


def _added_taps(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The 5 taps along `dim` added up to 3 low-resolution ones, for phase 0 and for phase 1.

    Sums and no matrix of zeros and ones: that would have to come to a GPU in every call, which then
    waits until all work before is done.
    """
    t = weight.unbind(dim)
    first = torch.stack([t[0] + t[1], t[2] + t[3], t[4]], dim)
    second = torch.stack([t[0], t[1] + t[2], t[3] + t[4]], dim)
    return first, second


def up_convolution(x: Tensor, weights: FoldedWeights, padding_mode: str) -> Tensor:
    """The output of an `UpConv2d` of kernel 5: [B, I, h, w] -> [B, O, 2 * h, 2 * w].

    Args:
        x: the low-resolution input; h and w are at least 2 where it is reflected.
        weights: `fold_weights` of the layer.
        padding_mode: the layer's: "reflect", "replicate" or "zeros".
    """
    mode = "replicate" if padding_mode == "reflect" else padding_mode
    phases = padded_convolution(x, weights.weight, weights.bias, mode, (1, 1))  # [B, 4 * O, h, w]
    y = interleave(phases)
    if weights.edge_rows is None or weights.edge_columns is None:
        return y
    rows = torch.cat([x[:, :, 1:2] - x[:, :, :1], x[:, :, -2:-1] - x[:, :, -1:]], 1)
    rows = F.interpolate(rows, scale_factor=(1.0, 2.0), mode="nearest")  # [B, 2 * I, 1, 2 * w]
    rows = padded_convolution(rows, weights.edge_rows, None, "reflect", (0, 2), groups=2)
    # Corners are in the rows: their windows are reflected along both axes, these along one.
    columns = torch.cat([x[..., 1:2] - x[..., :1], x[..., -2:-1] - x[..., -1:]], 1)
    columns = F.interpolate(columns, scale_factor=(2.0, 1.0), mode="nearest")
    columns = padded_convolution(columns, weights.edge_columns, None, "replicate", (2, 0), groups=2)
    return _added_at_ends(_added_at_ends(y, rows, 2), columns, 3)


def interleave(phases: Tensor) -> Tensor:
    """[B, 4 * O, h, w] in the order of `FoldedWeights.weight` -> [B, O, 2 * h, 2 * w].

    Made of concatenations: ONNX Runtime copies these in all threads and in whole rows, five times
    as fast as DepthToSpace or one Transpose.
    """
    upper_left, upper_right, lower_left, lower_right = phases.chunk(4, dim=1)  # [B, O, h, w]
    upper = torch.stack((upper_left, upper_right), dim=4).flatten(3)  # [B, O, h, 2 * w]
    lower = torch.stack((lower_left, lower_right), dim=4).flatten(3)
    return torch.stack((upper, lower), dim=3).flatten(2, 3)


def padded_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding_mode: str,
    padding: tuple[int, int],
    groups: int = 1,
) -> Tensor:
    """A convolution that pads `padding` rows and columns on both sides."""
    if padding_mode == "zeros":
        return F.conv2d(x, weight, bias, padding=padding, groups=groups)
    height, width = padding
    if padding_mode == "replicate" and torch.compiler.is_dynamo_compiling():
        # Inductor of torch 2.13 mistakes the strides of the gradient of F.pad in this mode.
        x = _replicated(_replicated(x, height, 2), width, 3)
    else:
        x = F.pad(x, (width, width, height, height), mode=padding_mode)
    return F.conv2d(x, weight, bias, groups=groups)


def _replicated(x: Tensor, count: int, dim: int) -> Tensor:
    """Repeat the first and last line of x along `dim` `count` times more."""
    first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
    return torch.cat([*[first] * count, x, *[last] * count], dim)


def _added_at_ends(x: Tensor, lines: Tensor, dim: int) -> Tensor:
    """`lines` [B, 2 * O, ...] added to the first and the last line of x [B, O, ...] along `dim`.

    Written over x, which ONNX Runtime does in place: an addition would read and write all of x.
    """
    first, last = lines.chunk(2, dim=1)
    size = x.shape[dim]
    ends = torch.cat([x.narrow(dim, 0, 1) + first, x.narrow(dim, size - 1, 1) + last], dim)
    index = torch.zeros_like(first, dtype=torch.int64)
    return x.scatter(dim, torch.cat([index, index + (size - 1)], dim), ends)
