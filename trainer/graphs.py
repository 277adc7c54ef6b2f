"""The graphs of a domain as torch modules: bytes in, bytes out.

They wrap the networks with what every client would otherwise have to get right: the layout, the
normalisation u8 / 127.5 - 1 and the way back, round(clip((x + 1) * 127.5, 0, 255)). The clip is
always there: `munit-sn` has no tanh, and an unclipped cast wraps around.

The casts come first on the input and last on the output: TensorRT takes bytes only there.
"""

from __future__ import annotations

from collections.abc import Callable

from munit_edge.model.config import Domain, GraphKind, TensorIO
from munit_edge.trainer.fast.measured_norms import measuring, run_with
from munit_edge.trainer.torch_api import Tensor, nn, torch

HALF_RANGE = 127.5


def image_from_bytes(image: Tensor) -> Tensor:
    """Bytes [B, H, W, C] -> float32 [B, C, H, W] in [-1, 1]."""
    return image.to(torch.float32).permute(0, 3, 1, 2) / HALF_RANGE - 1


def bytes_from_image(image: Tensor) -> Tensor:
    """Float32 [B, C, H, W], any range -> bytes [B, H, W, C]; outside [-1, 1] is clipped."""
    # A cast truncates and is undefined out of range: clip and round before it.
    scaled = ((image + 1) * HALF_RANGE).clamp(0, 255).round()
    return scaled.permute(0, 2, 3, 1).to(torch.uint8)


class EncoderGraph(nn.Module):
    """A content or style encoder that takes images of the type `io`."""

    def __init__(self, encoder: nn.Module, io: TensorIO) -> None:
        super().__init__()
        self.encoder = encoder
        self.io = io

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [B, H, W, C], or float32 [B, C, H, W] in [-1, 1] -> content or style."""
        x = image_from_bytes(image) if self.io == "uint8" else image
        return self.encoder(x)  # type: ignore[no-any-return]


class DecoderGraph(nn.Module):
    """A decoder that gives images of the type `io`."""

    def __init__(self, decoder: nn.Module, io: TensorIO) -> None:
        super().__init__()
        self.decoder = decoder
        self.io = io

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Content [B, D, h, w], style [B, S] -> uint8 [B, H, W, C] or float32 [B, C, H, W]."""
        image = self.decoder(content, style)
        return bytes_from_image(image) if self.io == "uint8" else image


class EncoderStatsGraph(nn.Module):
    """`EncoderGraph` of a content encoder, with the statistics of its norms as input and output."""

    def __init__(self, encoder: nn.Module, io: TensorIO) -> None:
        super().__init__()
        self.encoder = measuring(encoder)
        self.io = io

    def forward(self, image: Tensor, norm_stats: Tensor, core: Tensor) -> tuple[Tensor, Tensor]:
        """Image, statistics [B, K, 2], core [B, 1, h, w] -> content, measured [B, K, 2]."""
        with run_with(norm_stats, core) as run:
            x = image_from_bytes(image) if self.io == "uint8" else image
            return self.encoder(x), run.measured()


class DecoderStatsGraph(nn.Module):
    """`DecoderGraph` with the statistics of its norms as input and output."""

    def __init__(self, decoder: nn.Module, io: TensorIO) -> None:
        super().__init__()
        self.decoder = measuring(decoder)
        self.io = io

    def forward(
        self, content: Tensor, style: Tensor, norm_stats: Tensor, core: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Content, style, statistics [B, K, 2], core [B, 1, h, w] -> image, measured [B, K, 2]."""
        # Statistics belong to one style each: tracing must not take several for one content.
        torch._check(style.shape[0] == content.shape[0])  # type: ignore[no-untyped-call]
        with run_with(norm_stats, core) as run:
            image = self.decoder(content, style)
            return bytes_from_image(image) if self.io == "uint8" else image, run.measured()


_WRAPPERS: dict[GraphKind, Callable[[nn.Module, TensorIO], nn.Module]] = {
    "content_encoder": EncoderGraph,
    "style_encoder": EncoderGraph,
    "decoder": DecoderGraph,
    "content_encoder_stats": EncoderStatsGraph,
    "decoder_stats": DecoderStatsGraph,
}


def build_graph(
    generators: nn.ModuleDict, kind: GraphKind, domain: Domain, io: TensorIO
) -> nn.Module:
    """One of the graphs of a domain, in eval mode.

    Args:
        generators: both generators with spectral norm folded (`Checkpoint.generators`).
        kind: which of them.
        domain: whose.
        io: the type of images that it takes or gives.
    """
    network = generators[domain].get_submodule(kind.removesuffix("_stats"))
    return _WRAPPERS[kind](network, io).eval()
