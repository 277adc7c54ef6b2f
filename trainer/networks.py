"""The networks of MUNIT, in two architectures built from one set of blocks.

`munit` follows Huang, Liu, Belongie, Kautz: Multimodal Unsupervised Image-to-Image Translation,
ECCV 2018, section 5.1 and appendix B. `munit-sn` is the improved variant: spectral norm on the
convolutions (Miyato et al., 2018), pre-activation residual blocks (He et al., 2016) and AdaIN in
the upsampling blocks too. AdaIN is equation 6 of the MUNIT paper.

The layers of a generator are listed in `munit_edge.model.layers`; this module computes them.

A translation is ``decoder_b(content_encoder_a(x_a), style)``. Everything is a pure function of its
arguments: AdaIN parameters are passed down the call and never kept on a module, so one network may
serve many threads and be traced for export. No Python branch depends on a batch or image size: it
would be frozen into the exported graph. One export breaks the first rule, on a copy of a network:
`trainer.fast.measured_norms` replaces the norms with others that take statistics from outside.

Shape legend:
    B           batch
    R           styles for each content
    H, W        image height and width
    h, w        content height and width, H / 2**num_downsamples
    C           channels at that point
    S           style_dim

Order of this file: primitives, blocks, encoders, decoder, generator, discriminators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

from munit_edge.model import layers
from munit_edge.model.config import Activation, DiscriminatorConfig, ModelConfig, Padding
from munit_edge.model.layers import Layer, Norm, Stage
from munit_edge.trainer.fast.up_convolution import UpConv2d
from munit_edge.trainer.steady_gradients import steady_instance_norm, steady_product
from munit_edge.trainer.torch_api import F, Tensor, nn, parametrizations, parametrize, torch

# Both are part of the model: public weights were trained with them, and no file records them.
NORM_EPS = 1e-5
LEAKY_SLOPE = 0.2

AdaINParameters = tuple[Tensor, Tensor]
"""Scale [B, C] and shift [B, C] of one AdaIN layer."""

# What a block without AdaIN gets: unpacked into a call it adds no argument, so no branch is needed.
Unstyled = tuple[()]

# ----------------------------------------------------------------------------------------------
# Primitives

# Reflection, the default, continues the image beyond its border. Zeros are an edge, which shows in
# the output and enters the statistics of the norms.
_PADDING_MODES: dict[str, Literal["reflect", "zeros", "replicate"]] = {
    "reflect": "reflect",
    "zero": "zeros",
    "replicate": "replicate",
}

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "lrelu": lambda: nn.LeakyReLU(LEAKY_SLOPE),
    "prelu": nn.PReLU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


def activation(name: Activation) -> nn.Module:
    """A new activation module; `prelu` has one learned slope."""
    return _ACTIVATIONS[name]()


def widened(x: Tensor) -> Tensor:
    """bfloat16, which autocast made, as float32; other types unchanged. For norms and outputs."""
    # Means and variances over a whole image lose too much in the 8 bits of bfloat16's mantissa.
    return x.float() if x.dtype == torch.bfloat16 else x


def instance_norm(x: Tensor) -> Tensor:
    """Normalise each channel of each sample to mean 0, variance 1 (biased): [B, C, H, W]."""
    return steady_instance_norm(widened(x), NORM_EPS)


class InstanceNorm(nn.Module):
    """Instance norm without parameters (`munit`)."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return instance_norm(x)


class AffineInstanceNorm(nn.Module):
    """Instance norm with a learned scale and shift for each channel (`munit-sn`)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return steady_instance_norm(widened(x), NORM_EPS, self.weight, self.bias)


class AdaIN(nn.Module):
    """Adaptive instance norm: scale * (x - mean) / std + shift (MUNIT, equation 6).

    With several styles for each item of x, given as [B, R, C], x is normalised once.
    """

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """[B, C, H, W], scale [B, C], shift [B, C] -> [B, C, H, W]; [B, R, C] -> [B * R, ...]."""
        x = self.normalised(x)
        # A branch on the rank, which is fixed by the caller, not on a size.
        if scale.ndim == 2:
            return x * scale[:, :, None, None] + shift[:, :, None, None]  # [B, C, H, W]
        # [B, 1, C, H, W] * [B, R, C, 1, 1]: R outputs of one normalised input, R - 1 norms saved.
        x = x[:, None] * scale[..., None, None] + shift[..., None, None]  # [B, R, C, H, W]
        return x.flatten(0, 1)  # [B * R, C, H, W]

    # A method of its own: `trainer.fast.measured_norms` overrides it and keeps `forward`.
    def normalised(self, x: Tensor) -> Tensor:
        """The input of scale and shift: [B, C, H, W] -> the same."""
        return instance_norm(x)


class LayerNorm(nn.Module):
    """Layer norm over C, H, W of each sample, with a scale and shift for each channel (`munit`).

    It divides by (unbiased standard deviation + eps), not by the root of (variance + eps): trained
    weights of the original release depend on that.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Uniform in [0, 1), the authors' initialisation.
        self.weight = nn.Parameter(torch.rand(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        dims = (1, 2, 3)  # one mean and std for each sample, not for each channel
        x = widened(x)
        centred = x - x.mean(dims, keepdim=True)  # [B, C, H, W]
        num_values = x.shape[1] * x.shape[2] * x.shape[3]
        # From the centred values: the mean of squares less the squared mean would cancel.
        variance = centred.square().sum(dims, keepdim=True) / (num_values - 1)  # [B, 1, 1, 1]
        # The root has no gradient at exactly 0: a constant image must not give NaN.
        std = variance.clamp_min(torch.finfo(torch.float32).tiny).sqrt()
        # One factor for each channel: one pass over the image instead of two.
        scale = self.weight[:, None, None] / (std + NORM_EPS)  # [B, C, 1, 1]
        if x.requires_grad:  # bounded gradients where the variance is next to nothing
            return steady_product(centred, scale, variance) + self.bias[:, None, None]
        return centred * scale + self.bias[:, None, None]


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    upsampled: bool = False,
    padding: Padding,
    spectral_norm: bool = False,
) -> nn.Module:
    """A convolution that keeps the size, divided by `stride` (kernel 4 has padding 1).

    With `upsampled` its input is doubled in height and width first, by nearest neighbour.
    """
    # Nearest neighbour and then a convolution: a transposed convolution, whose windows overlap
    # unevenly, draws a checkerboard. 5x5 on doubled sides sees 3x3 source pixels, so that it can
    # blend the 2x2 blocks of equal pixels; 3x3 would see only 2x2 of them.
    layer = UpConv2d if upsampled else nn.Conv2d
    conv = layer(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        # 7, 5 and 3 keep the size: 3, 2 and 1. 4 with stride 2 has 1, which halves even sides
        # exactly, [B, I, H, W] -> [B, O, H / 2, W / 2], and rounds odd ones down.
        padding=(kernel_size - 1) // 2,
        padding_mode=_PADDING_MODES[padding],
    )
    # The weight is then stored as `parametrizations.weight.original` with its singular vectors,
    # `...0._u` and `...0._v`: `trainer.foreign.names` and `fold_spectral_norm` rely on these names.
    return parametrizations.spectral_norm(conv) if spectral_norm else conv


def fold_spectral_norm(module: nn.Module) -> None:
    """Replace every spectrally normalised weight by its current value, in place.

    The network then has plain weights, ready to be exported or averaged.
    """
    module.eval()  # in training mode reading a weight would update its singular vectors
    for child in module.modules():
        if parametrize.is_parametrized(child, "weight"):
            parametrize.remove_parametrizations(child, "weight", leave_parametrized=True)


# ----------------------------------------------------------------------------------------------
# Blocks


class ConvBlock(nn.Module):
    """Convolution, norm, activation; with `pre_activation`: norm, activation, convolution.

    Where the norm is AdaIN, `forward` takes the parameters of that layer.
    """

    def __init__(
        self,
        conv: nn.Module,
        *,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        pre_activation: bool = False,
    ) -> None:
        super().__init__()
        # Attribute names are checkpoint keys ("stem.conv.weight", "up.0.norm.weight") and stay as
        # they are. Modules without tensors, such as the stand-ins and AdaIN, add no keys.
        self.conv = conv
        self.norm = norm or nn.Identity()
        self.activation = activation or nn.Identity()
        self.pre_activation = pre_activation

    def forward(self, x: Tensor, adain: AdaINParameters | Unstyled = ()) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        if self.pre_activation:
            return self.conv(self.activation(self.norm(x, *adain)))  # type: ignore[no-any-return]
        return self.activation(self.norm(self.conv(x), *adain))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """x + block_1(block_0(x)); nothing after the sum."""

    def __init__(self, block_0: ConvBlock, block_1: ConvBlock) -> None:
        super().__init__()
        self.block_0 = block_0
        self.block_1 = block_1

    def forward(
        self,
        x: Tensor,
        adain_0: AdaINParameters | Unstyled = (),
        adain_1: AdaINParameters | Unstyled = (),
    ) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W], or [B * R, C, H, W] for R styles of each (see `AdaIN`)."""
        y: Tensor = self.block_1(self.block_0(x, adain_0), adain_1)
        if not adain_0 or adain_0[0].ndim == 2:
            return x + y
        # One x for the R results of each content: [B, 1, C, H, W] + [B, R, C, H, W]. Splitting the
        # batch axis is a view in every memory format.
        return (x[:, None] + y.view(x.shape[0], -1, *y.shape[1:])).flatten(0, 1)


def conv_block(layer: Layer, config: ModelConfig) -> ConvBlock:
    """The block of one layer of `munit_edge.model.layers`."""
    return ConvBlock(
        conv2d(
            layer.inputs,
            layer.outputs,
            layer.kernel,
            stride=2 if layer.resampling == "down" else 1,
            upsampled=layer.resampling == "up",
            padding=config.padding,
            spectral_norm=layer.spectral_norm,
        ),
        # With pre-activation the norm sees the inputs: in a residual block there are as many.
        norm=_norm(layer.norm, layer.outputs),
        activation=activation(cast(Activation, layer.activation)),
        # A block of `munit-sn` may normalise and activate before it convolves; others never do.
        pre_activation=config.pre_activation and layer.stage == "residual",
    )


def conv_blocks(network: Sequence[Layer], stage: Stage, config: ModelConfig) -> nn.ModuleList:
    """The blocks of all layers of one stage, in order."""
    return nn.ModuleList(conv_block(layer, config) for layer in network if layer.stage == stage)


def residual_blocks(network: Sequence[Layer], config: ModelConfig) -> nn.ModuleList:
    """The residual blocks of a network: its `residual` layers, two by two."""
    # A generator: the loop takes the first block of each pair from it, and `next` the second.
    blocks = (conv_block(layer, config) for layer in network if layer.stage == "residual")
    return nn.ModuleList(ResidualBlock(block_0, next(blocks)) for block_0 in blocks)


def _norm(kind: Norm, channels: int) -> nn.Module | None:
    norms: dict[Norm, Callable[[], nn.Module | None]] = {
        "none": lambda: None,
        "instance": InstanceNorm,
        "affine-instance": lambda: AffineInstanceNorm(channels),
        "adain": AdaIN,
        "layer": lambda: LayerNorm(channels),
    }
    return norms[kind]()


# ----------------------------------------------------------------------------------------------
# Encoders. The defaults in the notation of the paper's appendix B, with shapes at 256 x 256:
#
#   content  c7s1-64, d128, d256, 4 x R256
#            [B, 3, 256, 256] -> [B, 64, 256, 256] -> [B, 128, 128, 128] -> [B, 256, 64, 64]
#   style    c7s1-64, d128, d256, d256, d256, GAP, fc8
#            [B, 3, 256, 256] -> [B, 64, 256, 256] -> ... -> [B, 256, 16, 16] -> [B, 8]
#   decoder  4 x R256, u128, u64, c7s1-3
#            [B, 256, 64, 64] -> [B, 128, 128, 128] -> [B, 64, 256, 256] -> [B, 3, 256, 256]


class ContentEncoder(nn.Module):
    """The content of an image: 7x7, stride-2 convolutions, residual blocks, all instance-normed."""

    def __init__(self, config: ModelConfig, image_channels: int) -> None:
        super().__init__()
        # Instance norm removes the mean and std of each channel, where much of the style lies
        # (MUNIT, section 5.1): content must not carry it.
        self.layers = layers.content_encoder(config, image_channels)
        self.stem = conv_block(self.layers[0], config)
        self.down = conv_blocks(self.layers, "down", config)
        self.residual = residual_blocks(self.layers, config)

    def forward(self, image: Tensor) -> Tensor:
        """Image [B, C, H, W] in [-1, 1] -> content [B, content_channels, h, w]."""
        x = self.stem(image)  # [B, width, H, W]
        for block in self.down:
            x = block(x)  # halves H and W, doubles C
        for block in self.residual:
            x = block(x)  # [B, content_channels, h, w]
        return x  # type: ignore[no-any-return]


class StyleEncoder(nn.Module):
    """The style of an image: convolutions without norm (it would remove the style), global mean."""

    def __init__(self, config: ModelConfig, image_channels: int) -> None:
        super().__init__()
        network = layers.style_encoder(config, image_channels)
        self.stem = conv_block(network[0], config)
        self.down = conv_blocks(network, "down", config)
        # Linear: a style code is not bounded, and its prior is N(0, I). The paper's fc8, as a 1x1
        # convolution because the public files store it so: [S, 4 * width, 1, 1].
        self.head = nn.Conv2d(network[-1].inputs, network[-1].outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Image [B, C, H, W] in [-1, 1] -> style [B, S]."""
        x = self.stem(image)  # [B, width, H, W]
        for block in self.down:
            x = block(x)  # halves H and W; doubles C twice, to 4 * width
        x = x.mean((2, 3), keepdim=True)  # [B, 4 * width, 1, 1]
        return widened(self.head(x).flatten(1))  # [B, S, 1, 1] -> [B, S]


# ----------------------------------------------------------------------------------------------
# Decoder


def _mlp(config: ModelConfig) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The linear layers after the style code, and the activations between them."""
    mlp = layers.style_mlp(config)
    linear = nn.ModuleList(nn.Linear(layer.inputs, layer.outputs) for layer in mlp)
    names = [cast(Activation, layer.activation) for layer in mlp if layer.activation is not None]
    return linear, nn.ModuleList(activation(name) for name in names)


class SharedAdaINHead(nn.Module):
    """Style code -> parameters of all AdaIN layers, by one MLP (`munit`, section 5.1).

    The last linear layer gives, for each AdaIN layer in order, C shifts and then C scales.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear, self.activations = _mlp(config)
        # [C, C] for each AdaIN layer; by default 8 layers of 256: 4096 numbers.
        self.splits = [c for channels in layers.adain_channels(config) for c in (channels,) * 2]

    def forward(self, style: Tensor) -> list[AdaINParameters]:
        """Style [B, S] -> (scale [B, C], shift [B, C]) of each AdaIN layer."""
        x = style
        # There is one activation less: the last layer is linear, as scale and shift are unbounded.
        for linear, act in zip(self.linear, self.activations, strict=False):
            x = act(linear(x))  # [B, mlp_dim]
        x = self.linear[-1](x)  # [B, 2 * sum of C]
        # Shift before scale: trained weights of the original release have their rows in this order.
        shifts_and_scales = x.split(self.splits, dim=1)
        return list(zip(shifts_and_scales[1::2], shifts_and_scales[0::2], strict=True))


class SeparateAdaINHead(nn.Module):
    """Style code -> MLP -> one linear layer for each AdaIN layer (`munit-sn`).

    Each linear layer gives C gammas and then C betas; the scale is 1 + gamma.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear, self.activations = _mlp(config)
        # In the order in which `Decoder` takes them: two for each residual block, then one for each
        # upsampling. The improved release keeps each with its norm; `trainer.foreign.names` maps.
        self.adain = nn.ModuleList(
            nn.Linear(layer.inputs, layer.outputs) for layer in layers.adain_linears(config)
        )

    def forward(self, style: Tensor) -> list[AdaINParameters]:
        """Style [B, S] -> (scale [B, C], shift [B, C]) of each AdaIN layer."""
        x = style
        for linear, act in zip(self.linear, self.activations, strict=True):
            x = act(linear(x))  # [B, mlp_dim]
        # In bfloat16 1 + gamma would keep only the first bits of gamma.
        # Gamma before beta, [B, 2 * C] -> 2 x [B, C]: the opposite of `SharedAdaINHead`.
        gammas_and_betas = [widened(layer(x)).chunk(2, dim=1) for layer in self.adain]
        return [(1 + gamma, beta) for gamma, beta in gammas_and_betas]


class Decoder(nn.Module):
    """Content and style -> image: AdaIN residual blocks, then 5x5 convolutions on doubled sides."""

    def __init__(self, config: ModelConfig, image_channels: int) -> None:
        super().__init__()
        self.layers = layers.decoder(config, image_channels)
        head = SeparateAdaINHead if config.architecture == "munit-sn" else SharedAdaINHead
        self.adain_head = head(config)
        self.residual = residual_blocks(self.layers, config)
        # `munit` has layer norm here. Instance norm would undo the mean and std that AdaIN gave to
        # each channel; layer norm normalises all channels of a sample alike.
        self.up = conv_blocks(self.layers, "up", config)
        self.to_image = conv_block(self.layers[-1], config)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Content [B, content_channels, h, w], style [B * R, S] -> image [B * R, C, H, W].

        Each content has R styles, in order: the first convolution of `munit`, and in both
        architectures the first normalisation, do not depend on the style and are computed once.
        `munit` ends in tanh, so the image lies in [-1, 1]; `munit-sn` is not bounded.
        """
        adain = self.adain_head(style)  # (scale [B * R, C], shift [B * R, C]) of each layer
        scale, shift = adain[0]
        # Only the first AdaIN layer sees one x for R styles; from there on the batch is B * R.
        # R is inferred, never computed as a number that a trace would freeze.
        by_content = (content.shape[0], -1, scale.shape[1])
        adain[0] = scale.view(by_content), shift.view(by_content)  # [B, R, C]
        x = content
        for i, block in enumerate(self.residual):
            x = block(x, adain[2 * i], adain[2 * i + 1])  # [B * R, content_channels, h, w]
        up_adain: list[AdaINParameters] = adain[2 * len(self.residual) :]  # none in `munit`
        for i, block in enumerate(self.up):
            x = block(x, up_adain[i] if up_adain else ())  # doubles H and W, halves C
        # Autocast has rounded the values; the type keeps augmentation and losses in float32.
        return widened(self.to_image(x))  # [B * R, C, H, W]


class Generator(nn.Module):
    """The auto-encoder of one domain: content encoder, style encoder, decoder (figure 2)."""

    def __init__(self, config: ModelConfig, image_channels: int) -> None:
        super().__init__()
        self.content_encoder = ContentEncoder(config, image_channels)
        self.style_encoder = StyleEncoder(config, image_channels)
        self.decoder = Decoder(config, image_channels)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image [B, C, H, W] -> content [B, content_channels, h, w], style [B, S]."""
        return self.content_encoder(image), self.style_encoder(image)

    def forward(self, image: Tensor) -> Tensor:
        """Image [B, C, H, W] -> its reconstruction [B, C, H, W]."""
        return self.decoder(*self.encode(image))  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------------
# Discriminators. Each returns a list of outputs, one for each scale: real is high, fake is low.


class PatchNet(nn.Module):
    """One scale of the paper's discriminator: stride-2 4x4 convolutions, then 1x1."""

    def __init__(self, config: DiscriminatorConfig, image_channels: int) -> None:
        super().__init__()
        # d64, d128, d256, d512 by default. A logit sees 46 x 46 pixels of its scale.
        widths = [_capped(config, config.width * 2**i) for i in range(config.num_layers)]
        channels = [image_channels, *widths]
        self.blocks = nn.ModuleList(
            ConvBlock(
                conv2d(channels[i], channels[i + 1], 4, stride=2, padding=config.padding),
                norm=_norm(config.norm if i else "none", channels[i + 1]),
                activation=activation(config.activation),
            )
            for i in range(config.num_layers)
        )
        self.head = nn.Conv2d(channels[-1], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 1, H / 2**num_layers, W / 2**num_layers]."""
        x = image
        for block in self.blocks:
            x = block(x)  # [B, channels, H / 2, W / 2], rounded down
        return self.head(x)  # type: ignore[no-any-return]


class SpectralPatchNet(nn.Module):
    """One scale of the improved patch discriminator: 3x3 convolutions with spectral norm."""

    def __init__(self, config: DiscriminatorConfig, image_channels: int) -> None:
        super().__init__()
        # `num_layers` with stride 2, one more that widens, and one with a single output: num_layers
        # + 2 blocks. All are in one list, as the keys of the improved release count them.
        widths = [_capped(config, config.width * 2**i) for i in range(config.num_layers + 1)]
        channels = [image_channels, *widths, 1]
        last = len(channels) - 2
        self.blocks = nn.ModuleList(
            ConvBlock(
                conv2d(
                    channels[i],
                    channels[i + 1],
                    3,
                    # 3x3 with padding 1 rounds odd sides up, where 4x4 rounds them down.
                    stride=2 if i < config.num_layers else 1,
                    padding=config.padding,
                    spectral_norm=True,
                ),
                activation=activation(config.activation) if i < last else None,
            )
            for i in range(len(channels) - 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 1, H / 2**num_layers, W / 2**num_layers]."""
        x = image
        for block in self.blocks:
            x = block(x)
        return x


class PyramidDiscriminator(nn.Module):
    """Patch networks of their own on an image pyramid (MUNIT, section 5.1; Wang et al., 2018)."""

    def __init__(
        self,
        config: DiscriminatorConfig,
        net: Callable[[], nn.Module],
        downsample: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(net() for _ in range(config.num_scales))
        self._downsample = downsample

    def forward(self, image: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> one [B, 1, h_i, w_i] for each scale."""
        outputs = []
        for i, net in enumerate(self.scales):
            if i:
                image = self._downsample(image)  # halves H and W
            outputs.append(widened(net(image)))
        return outputs


def _average_pooled(image: Tensor) -> Tensor:
    # Odd sides are rounded up. Padding does not count: zeros would turn the border grey.
    return F.avg_pool2d(image, 3, stride=2, padding=1, count_include_pad=False)


def _bilinearly_halved(image: Tensor) -> Tensor:
    # Odd sides are rounded down. Corners are aligned as in the improved release.
    return F.interpolate(
        image, scale_factor=0.5, mode="bilinear", align_corners=True, recompute_scale_factor=True
    )


class DownResidualBlock(nn.Module):
    """Two pre-activated 3x3 convolutions plus a shortcut, then average pooling by 2."""

    def __init__(self, in_channels: int, out_channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()

        def block(channels: int) -> ConvBlock:
            conv = conv2d(in_channels, channels, 3, padding=config.padding, spectral_norm=True)
            return ConvBlock(conv, activation=activation(config.activation), pre_activation=True)

        # Activations are not in place: the shortcut needs x itself.
        self.block_0 = block(in_channels)
        self.block_1 = block(out_channels)
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels
            else conv2d(in_channels, out_channels, 1, padding=config.padding, spectral_norm=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H / 2, W / 2]."""
        return F.avg_pool2d(self.shortcut(x) + self.block_1(self.block_0(x)), 2)


class GlobalResidualDiscriminator(nn.Module):
    """One logit for the whole image: residual blocks, 4x4 convolution, mean, linear layer."""

    def __init__(self, config: DiscriminatorConfig, image_channels: int) -> None:
        super().__init__()
        widths = [_capped(config, config.width * 2**i) for i in range(config.num_layers + 1)]
        self.stem = ConvBlock(
            conv2d(image_channels, widths[0], 1, padding=config.padding, spectral_norm=True),
            activation=activation(config.activation),
        )
        self.blocks = nn.ModuleList(
            DownResidualBlock(widths[i], widths[i + 1], config) for i in range(config.num_layers)
        )
        # Like the improved release's, this convolution and the linear layer have no spectral norm.
        self.last = ConvBlock(
            nn.Conv2d(widths[-1], widths[-1], 4), activation=activation(config.activation)
        )
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> one [B, 1]."""
        x = self.stem(image)  # [B, width, H, W]
        for block in self.blocks:
            x = block(x)  # halves H and W, doubles C up to max_width
        # Without padding the 4x4 convolution gives [B, C, h - 3, w - 3]; the mean takes any size.
        x = self.last(x).mean((2, 3))  # [B, C]
        return [widened(self.head(x))]


def build_discriminator(config: DiscriminatorConfig, image_channels: int) -> nn.Module:
    """The discriminator of `config.kind`, for images of `image_channels` channels."""
    if config.kind == "global-residual":
        return GlobalResidualDiscriminator(config, image_channels)
    if config.kind == "multiscale-patch":
        return PyramidDiscriminator(
            config, lambda: PatchNet(config, image_channels), _average_pooled
        )
    return PyramidDiscriminator(
        config, lambda: SpectralPatchNet(config, image_channels), _bilinearly_halved
    )


def _capped(config: DiscriminatorConfig, channels: int) -> int:
    return channels if config.max_width is None else min(channels, config.max_width)
