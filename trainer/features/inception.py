"""Inception-v3: features for FID and KID, classes for IS and CIS.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016. Layers have
torchvision's names (`Mixed_5b.branch1x1.conv.weight`, ...), as have the FID weights ported from
TensorFlow. That network differs: its average pooling excludes padding, its last block uses max
pooling instead, and it has 1008 classes, by which it is recognised.

The number of channels of each layer is taken from the weights, so that tests can use a small
network of the same architecture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Union

from munit_edge.trainer.features.weights import Weights
from munit_edge.trainer.torch_api import F, Tensor, nn, torch

SIZE = 299
"""Height and width of the network's input in pixels."""
FID_CLASSES = 1008
"""Classes of TensorFlow's network of 2015-12-05."""

_BATCH_NORM_EPSILON = 0.001

Pool = Literal["average", "max"]


@dataclass(frozen=True)
class _Conv:
    """A convolution without bias, batch norm and ReLU."""

    name: str
    kernel_hw: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True
    """Whether it is padded to keep the size."""


@dataclass(frozen=True)
class _Branch:
    """Convolutions in sequence; `ends` are parallel convolutions after the last one."""

    row: tuple[_Conv, ...] = ()
    ends: tuple[_Conv, ...] = ()
    pool: Pool | None = None
    """3x3 pooling before the first convolution."""
    pool_stride: int = 1


def _shrinking(name: str) -> _Conv:
    return _Conv(name, (3, 3), stride=2, same=False)


_POOLED = _Branch((_Conv("branch_pool"),), pool="average")
_MAX_POOLED = _Branch((_Conv("branch_pool"),), pool="max")
_SHRUNK = _Branch(pool="max", pool_stride=2)

_BLOCK_A = (
    _Branch((_Conv("branch1x1"),)),
    _Branch((_Conv("branch5x5_1"), _Conv("branch5x5_2", (5, 5)))),
    _Branch(
        (
            _Conv("branch3x3dbl_1"),
            _Conv("branch3x3dbl_2", (3, 3)),
            _Conv("branch3x3dbl_3", (3, 3)),
        )
    ),
    _POOLED,
)
_BLOCK_B = (
    _Branch((_shrinking("branch3x3"),)),
    _Branch(
        (
            _Conv("branch3x3dbl_1"),
            _Conv("branch3x3dbl_2", (3, 3)),
            _shrinking("branch3x3dbl_3"),
        )
    ),
    _SHRUNK,
)
_BLOCK_C = (
    _Branch((_Conv("branch1x1"),)),
    _Branch(
        (_Conv("branch7x7_1"), _Conv("branch7x7_2", (1, 7)), _Conv("branch7x7_3", (7, 1))),
    ),
    _Branch(
        (
            _Conv("branch7x7dbl_1"),
            _Conv("branch7x7dbl_2", (7, 1)),
            _Conv("branch7x7dbl_3", (1, 7)),
            _Conv("branch7x7dbl_4", (7, 1)),
            _Conv("branch7x7dbl_5", (1, 7)),
        )
    ),
    _POOLED,
)
_BLOCK_D = (
    _Branch((_Conv("branch3x3_1"), _shrinking("branch3x3_2"))),
    _Branch(
        (
            _Conv("branch7x7x3_1"),
            _Conv("branch7x7x3_2", (1, 7)),
            _Conv("branch7x7x3_3", (7, 1)),
            _shrinking("branch7x7x3_4"),
        )
    ),
    _SHRUNK,
)
_BLOCK_E = (
    _Branch((_Conv("branch1x1"),)),
    _Branch(
        (_Conv("branch3x3_1"),),
        ends=(_Conv("branch3x3_2a", (1, 3)), _Conv("branch3x3_2b", (3, 1))),
    ),
    _Branch(
        (_Conv("branch3x3dbl_1"), _Conv("branch3x3dbl_2", (3, 3))),
        ends=(_Conv("branch3x3dbl_3a", (1, 3)), _Conv("branch3x3dbl_3b", (3, 1))),
    ),
    _POOLED,
)

_Step = Union[_Conv, _Branch, tuple[_Branch, ...]]  # noqa: UP007 - a value, for Python 3.10


def _plan(fid: bool) -> Iterator[tuple[str, _Step]]:
    """Name and kind of each step, in the order of the forward pass."""
    # Sides after each step, from 299; channels are those of the published weights.
    yield "Conv2d_1a_3x3", _shrinking("")  # 149 x 149
    yield "Conv2d_2a_3x3", _Conv("", (3, 3), same=False)  # 147 x 147
    yield "Conv2d_2b_3x3", _Conv("", (3, 3))
    yield "", _SHRUNK  # 73 x 73
    yield "Conv2d_3b_1x1", _Conv("")
    yield "Conv2d_4a_3x3", _Conv("", (3, 3), same=False)  # 71 x 71
    yield "", _SHRUNK  # 35 x 35, 192 channels
    for letter in "bcd":
        yield f"Mixed_5{letter}", _BLOCK_A  # 256, 288, 288 channels
    yield "Mixed_6a", _BLOCK_B  # 17 x 17, 768 channels
    for letter in "bcde":
        yield f"Mixed_6{letter}", _BLOCK_C
    yield "Mixed_7a", _BLOCK_D  # 8 x 8, 1280 channels
    yield "Mixed_7b", _BLOCK_E  # 2048 channels
    yield "Mixed_7c", (*_BLOCK_E[:-1], _MAX_POOLED) if fid else _BLOCK_E


class Inception(nn.Module):
    """Images -> features and classes. The weights are fixed, with the batch norms folded in."""

    def __init__(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Build the network from weights with torchvision's names.

        Args:
            tensors: the weights; those of the auxiliary classifier are ignored.
            source: their name in messages.

        Raises:
            ModelError: they are not the weights of an Inception-v3.
        """
        super().__init__()
        reader = _Reader(Weights(tensors, source, EXPECTED))
        self.classes = reader.classes
        self.is_fid = self.classes == FID_CLASSES
        """Whether it is the network of the FID weights."""
        self._plan = list(_plan(self.is_fid))
        self._convs = nn.ModuleDict()
        channels = 3
        for name, step in self._plan:
            channels = self._read(reader, name, step, channels)
        self._head = reader.head(channels)
        self.eval().requires_grad_(False)

    def features(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1] -> [B, channels], the means of the last block's channels.

        Images are resized to 299 x 299, bilinearly and without antialiasing, as pytorch-fid does.
        """
        # [-1, 1] is right for both: torchvision's weights, too, were ported from TensorFlow.
        x = F.interpolate(image, (SIZE, SIZE), mode="bilinear", align_corners=False) * 2 - 1
        for name, step in self._plan:
            x = self._run(name, step, x)
        return x.mean(dim=(2, 3))

    def logits(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1] -> [B, classes]."""
        return self._head(self.features(image))  # type: ignore[no-any-return]

    def _read(self, reader: _Reader, name: str, step: _Step, channels: int) -> int:
        """Read the weights of a step; returns its number of output channels."""
        if isinstance(step, _Conv):
            full = _full_name(name, step)
            conv = reader.convolution(full, step, channels)
            self._convs[_key(full)] = conv
            return conv.out_channels
        if isinstance(step, _Branch):
            for conv_step in step.row:
                channels = self._read(reader, name, conv_step, channels)
            if step.ends:
                channels = sum(self._read(reader, name, end, channels) for end in step.ends)
            return channels
        # Parallel branches, of which a pooling passes its input's channels on.
        return sum(self._read(reader, name, branch, channels) for branch in step)

    def _run(self, name: str, step: _Step, x: Tensor) -> Tensor:
        if isinstance(step, _Conv):
            return F.relu(self._convs[_key(_full_name(name, step))](x))
        if isinstance(step, _Branch):
            x = self._pooled(step, x)
            for conv_step in step.row:
                x = self._run(name, conv_step, x)
            return self._concatenated(name, step.ends, x) if step.ends else x
        return self._concatenated(name, step, x)

    def _concatenated(self, name: str, steps: Sequence[_Step], x: Tensor) -> Tensor:
        return torch.cat([self._run(name, step, x) for step in steps], dim=1)

    def _pooled(self, branch: _Branch, x: Tensor) -> Tensor:
        # Only the pooling with stride 2 may shrink: the outputs of parallel branches must fit.
        padding = 1 if branch.pool_stride == 1 else 0
        if branch.pool == "max":
            return F.max_pool2d(x, 3, branch.pool_stride, padding)
        if branch.pool == "average":
            return F.avg_pool2d(x, 3, 1, padding, count_include_pad=not self.is_fid)
        return x


class _Reader:
    """Layers from weights with torchvision's names."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        weight = weights.tensor("fc.weight")
        self.classes = weight.shape[0] if weight.ndim == 2 else 0

    def convolution(self, name: str, step: _Conv, inputs: int) -> nn.Conv2d:
        """A convolution with the batch norm after it folded in."""
        weight = self._weights.tensor(f"{name}.conv.weight")
        outputs = weight.shape[0] if weight.ndim else 0
        self._weights.shaped(f"{name}.conv.weight", (outputs, inputs, *step.kernel_hw))
        parts = ("weight", "bias", "running_mean", "running_var")
        norm = {part: self._weights.shaped(f"{name}.bn.{part}", (outputs,)) for part in parts}
        scale = norm["weight"] / torch.sqrt(norm["running_var"] + _BATCH_NORM_EPSILON)
        height, width = step.kernel_hw
        padding = (height // 2, width // 2) if step.same else 0
        conv = nn.Conv2d(inputs, outputs, step.kernel_hw, step.stride, padding)
        folded = weight * scale[:, None, None, None]
        bias = norm["bias"] - norm["running_mean"] * scale
        conv.load_state_dict({"weight": folded, "bias": bias})
        return conv

    def head(self, channels: int) -> nn.Linear:
        """The classifier."""
        state = {
            "weight": self._weights.shaped("fc.weight", (self.classes, channels)),
            "bias": self._weights.shaped("fc.bias", (self.classes,)),
        }
        head = nn.Linear(channels, self.classes)
        head.load_state_dict(state)
        return head


EXPECTED = (
    "weights of an Inception-v3 with torchvision's names (Conv2d_1a_3x3.conv.weight to fc.bias) "
    "are needed here, as .safetensors or as a state dictionary saved by torch; or an .onnx graph"
)


def _full_name(name: str, step: _Conv) -> str:
    return f"{name}.{step.name}" if step.name else name


def _key(name: str) -> str:
    """The name of a module, which must not contain dots."""
    return name.replace(".", "_")
