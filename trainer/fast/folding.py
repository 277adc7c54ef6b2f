"""Decoders with fewer multiplications that give the same image.

Upsampling is folded (`munit_edge.trainer.fast.up_convolution`).

The last layer. Convolution kernels work in blocks of 8 or 16 output channels, and the last layer
has 3. Its 7 columns of taps become channels: a 7x1 convolution with 7 times the outputs, of which
each output adds up its 7, each moved to its place.
"""

from __future__ import annotations

from munit_edge.trainer.fast.up_convolution import (
    FoldedWeights,
    UpConv2d,
    fold_weights,
    padded_convolution,
    up_convolution,
)
from munit_edge.trainer.networks import Decoder
from munit_edge.trainer.torch_api import Tensor, nn, torch


class FoldedUpConv2d(nn.Module):
    """An `UpConv2d` of kernel 5 with its weights folded once: for inference."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight, bias, edge_rows, edge_columns = fold_weights(conv)
        self.weight = _constant(weight)
        self.bias = _constant(bias)
        self.edge_rows = None if edge_rows is None else _constant(edge_rows)
        self.edge_columns = None if edge_columns is None else _constant(edge_columns)
        self.padding_mode = conv.padding_mode

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, h, w] -> [B, O, 2 * h, 2 * w]."""
        weights = FoldedWeights(self.weight, self.bias, self.edge_rows, self.edge_columns)
        return up_convolution(x, weights, self.padding_mode)


class SplitConv2d(nn.Module):
    """A convolution of few outputs in two: along the height, with columns of taps as channels."""

    moves: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        outputs, _, _, taps = conv.weight.shape
        assert conv.bias is not None
        # [O, I, rows, columns] -> [O, columns, I, rows] -> [O * taps, I, taps, 1]
        self.weight = _constant(
            conv.weight.transpose(1, 3).transpose(2, 3).flatten(0, 1)[..., None]
        )
        self.bias = _constant(conv.bias)
        # Output o is the sum of its channels, channel k moved by k columns: an identity matrix as
        # the taps of a 1x7 convolution, [O, taps, 1, taps] with one group for each output.
        self.register_buffer("moves", torch.eye(taps).repeat(outputs, 1, 1)[:, :, None])
        self.padding_mode = conv.padding_mode

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H, W]."""
        reach = self.weight.shape[2] // 2
        # The bias comes last: columns of zeros outside the image must have sums of 0, as they would
        # if the image had been padded on all sides first.
        columns = padded_convolution(x, self.weight, None, self.padding_mode, (reach, 0))
        return padded_convolution(
            columns, self.moves, self.bias, self.padding_mode, (0, reach), groups=len(self.bias)
        )


def fold_decoder(decoder: Decoder) -> None:
    """Replace the upsampling convolutions and the last one by equal ones that take less time.

    Args:
        decoder: with plain weights (spectral norm folded); changed in place. Its layers keep their
            names, their weights have other shapes.
    """
    with torch.no_grad():
        for block in decoder.up:
            assert isinstance(block.conv, UpConv2d)
            block.conv = FoldedUpConv2d(block.conv)
        assert isinstance(decoder.to_image.conv, nn.Conv2d)
        decoder.to_image.conv = SplitConv2d(decoder.to_image.conv)


def fold_decoders(generators: nn.ModuleDict) -> None:
    """`fold_decoder` for the generators of both domains (`Checkpoint.generators`)."""
    for generator in generators.values():
        decoder = generator.get_submodule("decoder")
        assert isinstance(decoder, Decoder)
        fold_decoder(decoder)


def _constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone().contiguous(), requires_grad=False)
