"""The networks of MUNIT, in two architectures built from one set of blocks.

`munit` follows Huang, Liu, Belongie, Kautz: Multimodal Unsupervised Image-to-Image Translation,
ECCV 2018, section 5.1 and appendix B. `munit-sn` is the improved variant: spectral norm on the
convolutions (Miyato et al., 2018), pre-activation residual blocks (He et al., 2016) and AdaIN in
the up-sampling blocks too. AdaIN is equation 6 of the MUNIT paper.

A translation is ``decoder_b(content_encoder_a(x_a), style)``. Everything is a pure function of its
arguments: AdaIN parameters travel down the call and are never kept on a module, so one network may
serve many threads and be traced for export. Nothing branches on a size.

Shape legend:
    B           batch
    H, W        image height and width
    h, w        content height and width, H / 2**num_downsamples
    C           channels where it stands
    S           style_dim

Order of this file: primitives, blocks, encoders, decoder, generator, discriminators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from munit_edge.model.config import Activation, DiscriminatorConfig, ModelConfig, Padding
from munit_edge.trainer.fast.up_convolution import UpConv2d
from munit_edge.trainer.steady_gradients import steady_instance_norm, steady_product
from munit_edge.trainer.torch_api import F, Tensor, nn, parametrizations, parametrize, torch

NORM_EPS = 1e-5
LEAKY_SLOPE = 0.2

AdaINParameters = tuple[Tensor, Tensor]
"""Scale [B, C] and shift [B, C] of one AdaIN layer."""

Unstyled = tuple[()]

# ----------------------------------------------------------------------------------------------
# Primitives

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
    """A new activation module; `prelu` brings one learned slope."""
    return _ACTIVATIONS[name]()


def widened(x: Tensor) -> Tensor:
    """bfloat16, which autocast made, in float32: for norms and outputs. Other types stay."""
    return x.float() if x.dtype == torch.bfloat16 else x


def instance_norm(x: Tensor) -> Tensor:
    """Each channel of each sample to mean 0, variance 1 (biased): [B, C, H, W] -> the same."""
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
    """Adaptive instance norm: scale * (x - mean) / deviation + shift (MUNIT, equation 6).

    For several styles of each item of x, given as [B, R, C], the normalisation is done once.
    """

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """[B, C, H, W], scale [B, C], shift [B, C] -> [B, C, H, W]; [B, R, C] -> [B * R, ...]."""
        x = self.normalised(x)
        if scale.ndim == 2:
            return x * scale[:, :, None, None] + shift[:, :, None, None]
        x = x[:, None] * scale[..., None, None] + shift[..., None, None]
        return x.flatten(0, 1)  # [B * R, C, H, W]

    def normalised(self, x: Tensor) -> Tensor:
        """What scale and shift are applied to: [B, C, H, W] -> the same."""
        return instance_norm(x)


class LayerNorm(nn.Module):
    """Layer norm over C, H, W of each sample, with a scale and shift for each channel (`munit`).

    It divides by (unbiased standard deviation + eps), not by the root of (variance + eps): trained
    weights of the original release depend on that.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Uniform in [0, 1), as the paper's authors began.
        self.weight = nn.Parameter(torch.rand(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        dims = (1, 2, 3)
        x = widened(x)
        centred = x - x.mean(dims, keepdim=True)  # [B, C, H, W]
        num_values = x.shape[1] * x.shape[2] * x.shape[3]
        variance = centred.square().sum(dims, keepdim=True) / (num_values - 1)  # [B, 1, 1, 1]
        # The root of exactly 0 has no gradient: a constant picture must not make NaN.
        deviation = variance.clamp_min(torch.finfo(torch.float32).tiny).sqrt()
        # One factor for each channel: one pass over the picture instead of two.
        scale = self.weight[:, None, None] / (deviation + NORM_EPS)  # [B, C, 1, 1]
        if x.requires_grad:
            return steady_product(centred, scale, variance) + self.bias[:, None, None]
        return centred * scale + self.bias[:, None, None]


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    up_sampled: bool = False,
    padding: Padding,
    spectral_norm: bool = False,
) -> nn.Module:
    """A convolution that keeps the size, divided by `stride` (kernel 4 has padding 1).

    With `up_sampled` its input is doubled in height and width first.
    """
    layer = UpConv2d if up_sampled else nn.Conv2d
    conv = layer(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=(kernel_size - 1) // 2,
        padding_mode=_PADDING_MODES[padding],
    )
    return parametrizations.spectral_norm(conv) if spectral_norm else conv


def fold_spectral_norm(module: nn.Module) -> None:
    """Replace every spectrally normalised weight by its present value, in place.

    What remains has plain weights: ready to export or to be averaged. Folding is done in eval mode,
    so the stored singular vectors are used as they are.
    """
    module.eval()
    for child in module.modules():
        if parametrize.is_parametrized(child, "weight"):
            parametrize.remove_parametrizations(child, "weight", leave_parametrized=True)


# ----------------------------------------------------------------------------------------------
# Blocks


class ConvBlock(nn.Module):
    """Convolution, norm, activation; with `pre_activation`: norm, activation, convolution.

    The block is styled when its norm is AdaIN: then `forward` takes that layer's parameters.
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
        return (x[:, None] + y.view(x.shape[0], -1, *y.shape[1:])).flatten(0, 1)


def residual_block(
    channels: int, config: ModelConfig, norm: Callable[[], nn.Module]
) -> ResidualBlock:
    """The residual block of `config`: two 3x3 convolutions, each with its norm.

    Only `munit` has no activation behind the second convolution.
    """
    blocks = [
        ConvBlock(
            conv2d(
                channels,
                channels,
                3,
                padding=config.padding,
                spectral_norm=config.spectral_norm,
            ),
            norm=norm(),
            activation=activation(config.activation) if has_activation else None,
            pre_activation=config.pre_activation,
        )
        for has_activation in (True, config.architecture == "munit-sn")
    ]
    return ResidualBlock(*blocks)


# ----------------------------------------------------------------------------------------------
# Encoders


class ContentEncoder(nn.Module):
    """What is in the picture: 7x7, stride-2 convolutions, residual blocks, all instance-normed."""

    def __init__(self, config: ModelConfig, image_channels: int) -> None:
        super().__init__()
        affine = config.architecture == "munit-sn"

        def norm(channels: int) -> nn.Module:
            return AffineInstanceNorm(channels) if affine else InstanceNorm()

        def block(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> ConvBlock:
            conv = conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride=stride,
                padding=config.padding,
                spectral_norm=config.spectral_norm,
            )
            return ConvBlock(
                conv, norm=norm(out_channels), activation=activation(config.activation)
            )

        widths = [config.capped(config.width * 2**i) for i in range(config.num_downsamples + 1)]
        self.stem = block(image_channels, widths[0], 7, 1)
        self.down = nn.ModuleList(
            block(widths[i], widths[i + 1], 4, 2) for i in range(config.num_downsamples)
        )
        self.residual = nn.ModuleList(
            residual_block(widths[-1], config, lambda: norm(widths[-1]))
            for _ in range(config.num_res_blocks)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Image [B, C, H, W] in [-1, 1] -> content [B, content_channels, h, w]."""
        x = self.stem(image)  # [B, width, H, W]
        for block in self.down:
            x = block(x)  # halves H and W, doubles C
        for block in self.residual:
            x = block(x)  # [B, content_channels, h, w]
        return x  # type: ignore[no-any-return]


class StyleEncoder(nn.Module):
    """How the picture looks: convolutions without norm (it would remove the style), global mean."""

    def __init__(self, config: ModelConfig, image_channels: int) -> None:
        super().__init__()

        def block(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> ConvBlock:
            conv = conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride=stride,
                padding=config.padding,
                spectral_norm=config.spectral_norm,
            )
            return ConvBlock(conv, activation=activation(config.activation))

        # Channels double at the first two stride-2 convolutions only; `max_width` is not for here.
        widths = [config.width * 2 ** min(i, 2) for i in range(config.num_style_downsamples + 1)]
        self.stem = block(image_channels, widths[0], 7, 1)
        self.down = nn.ModuleList(
            block(widths[i], widths[i + 1], 4, 2) for i in range(config.num_style_downsamples)
        )
        self.head = nn.Conv2d(widths[-1], config.style_dim, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Image [B, C, H, W] in [-1, 1] -> style [B, S]."""
        x = self.stem(image)  # [B, width, H, W]
        for block in self.down:
            x = block(x)
        x = x.mean((2, 3), keepdim=True)  # [B, 4 * width, 1, 1]
        return widened(self.head(x).flatten(1))


# ----------------------------------------------------------------------------------------------
# Decoder


class SharedAdaINHead(nn.Module):
    """Style code -> parameters of all AdaIN layers, by one MLP (`munit`, appendix B.1).

    The last linear layer gives, for each AdaIN layer in order, C shifts and then C scales.
    """

    def __init__(self, config: ModelConfig, adain_channels: list[int]) -> None:
        super().__init__()
        num_outputs = 2 * sum(adain_channels)
        dims = [config.style_dim, *[config.mlp_dim] * (config.num_mlp_layers - 1), num_outputs]
        self.linear = nn.ModuleList(
            nn.Linear(dims[i], dims[i + 1]) for i in range(config.num_mlp_layers)
        )
        self.activations = nn.ModuleList(
            activation(config.activation) for _ in range(config.num_mlp_layers - 1)
        )
        self.splits = [c for channels in adain_channels for c in (channels, channels)]

    def forward(self, style: Tensor) -> list[AdaINParameters]:
        """Style [B, S] -> (scale [B, C], shift [B, C]) of each AdaIN layer."""
        x = style
        for linear, act in zip(self.linear, self.activations, strict=False):
            x = act(linear(x))  # [B, mlp_dim]
        x = self.linear[-1](x)  # [B, 2 * sum of C]
        shifts_and_scales = x.split(self.splits, dim=1)
        return list(zip(shifts_and_scales[1::2], shifts_and_scales[0::2], strict=True))


class SeparateAdaINHead(nn.Module):
    """Style code -> MLP -> one linear layer for each AdaIN layer (`munit-sn`).

    Each linear layer gives C gammas and then C betas; the scale is 1 + gamma.
    """

    def __init__(self, config: ModelConfig, adain_channels: list[int]) -> None:
        super().__init__()
        dims = [config.style_dim, *[config.mlp_dim] * config.num_mlp_layers]
        self.linear = nn.ModuleList(
            nn.Linear(dims[i], dims[i + 1]) for i in range(config.num_mlp_layers)
        )
        self.activations = nn.ModuleList(
            activation(config.activation) for _ in range(config.num_mlp_layers)
        )
        self.adain = nn.ModuleList(
            nn.Linear(config.mlp_dim, 2 * channels) for channels in adain_channels
        )

    def forward(self, style: Tensor) -> list[AdaINParameters]:
        """Style [B, S] -> (scale [B, C], shift [B, C]) of each AdaIN layer."""
        x = style
        for linear, act in zip(self.linear, self.activations, strict=True):
            x = act(linear(x))  # [B, mlp_dim]
        # In bfloat16 1 + gamma would lose what gamma is, but for its first bits.
        gammas_and_betas = [widened(layer(x)).chunk(2, dim=1) for layer in self.adain]
        return [(1 + gamma, beta) for gamma, beta in gammas_and_betas]


class Decoder(nn.Module):
    """Content and style -> picture: AdaIN residual blocks, then up-sampling by 2 with a 5x5."""

    def __init__(self, config: ModelConfig, image_channels: int) -> None:
        super().__init__()
        improved = config.architecture == "munit-sn"
        channels = config.content_channels
        widths = [channels // 2**i for i in range(config.num_downsamples + 1)]
        adain_channels = [channels] * (2 * config.num_res_blocks)
        if improved:
            adain_channels += widths[1:]
        head = SeparateAdaINHead if improved else SharedAdaINHead
        self.adain_head = head(config, adain_channels)
        self.residual = nn.ModuleList(
            residual_block(channels, config, AdaIN) for _ in range(config.num_res_blocks)
        )
        self.up = nn.ModuleList(
            ConvBlock(
                conv2d(
                    widths[i],
                    widths[i + 1],
                    5,
                    up_sampled=True,
                    padding=config.padding,
                    spectral_norm=config.spectral_norm,
                ),
                norm=AdaIN() if improved else LayerNorm(widths[i + 1]),
                activation=activation(config.activation),
            )
            for i in range(config.num_downsamples)
        )
        # Not spectrally normalised: the output's range must stay free.
        self.to_image = ConvBlock(
            conv2d(widths[-1], image_channels, 7, padding=config.padding),
            activation=None if improved else nn.Tanh(),
        )

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Content [B, content_channels, h, w], style [B * R, S] -> image [B * R, C, H, W].

        Each content has R styles, in order; what does not depend on the style is computed once.
        `munit` ends in tanh, so the image lies in [-1, 1]; `munit-sn` is not bounded.
        """
        adain = self.adain_head(style)
        scale, shift = adain[0]
        by_content = (content.shape[0], -1, scale.shape[1])
        adain[0] = scale.view(by_content), shift.view(by_content)  # [B, R, C]
        x = content
        for i, block in enumerate(self.residual):
            x = block(x, adain[2 * i], adain[2 * i + 1])  # [B, content_channels, h, w]
        up_adain: list[AdaINParameters] = adain[2 * len(self.residual) :]
        for i, block in enumerate(self.up):
            x = block(x, up_adain[i] if up_adain else ())  # doubles H and W, halves C
        return widened(self.to_image(x))


class Generator(nn.Module):
    """The auto-encoder of one domain: content encoder, style encoder, decoder."""

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
        widths = [_capped(config, config.width * 2**i) for i in range(config.num_layers)]
        channels = [image_channels, *widths]
        self.blocks = nn.ModuleList(
            ConvBlock(
                conv2d(channels[i], channels[i + 1], 4, stride=2, padding=config.padding),
                norm=_patch_norm(config, channels[i + 1]) if i else None,
                activation=activation(config.activation),
            )
            for i in range(config.num_layers)
        )
        self.head = nn.Conv2d(channels[-1], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 1, H / 2**num_layers, W / 2**num_layers]."""
        x = image
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


class MultiScalePatchDiscriminator(nn.Module):
    """The paper's: the same patch network on an image pyramid made by average pooling."""

    def __init__(self, config: DiscriminatorConfig, image_channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            PatchNet(config, image_channels) for _ in range(config.num_scales)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> one [B, 1, h_i, w_i] for each scale."""
        outputs = []
        for i, net in enumerate(self.scales):
            if i:
                image = F.avg_pool2d(image, 3, stride=2, padding=1, count_include_pad=False)
            outputs.append(widened(net(image)))
        return outputs


class SpectralPatchNet(nn.Module):
    """One scale of the improved patch discriminator: 3x3 convolutions with spectral norm."""

    def __init__(self, config: DiscriminatorConfig, image_channels: int) -> None:
        super().__init__()
        widths = [_capped(config, config.width * 2**i) for i in range(config.num_layers + 1)]
        channels = [image_channels, *widths, 1]
        last = len(channels) - 2
        self.blocks = nn.ModuleList(
            ConvBlock(
                conv2d(
                    channels[i],
                    channels[i + 1],
                    3,
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


class MultiResolutionPatchDiscriminator(nn.Module):
    """The improved patch discriminator: images halved bilinearly from scale to scale."""

    def __init__(self, config: DiscriminatorConfig, image_channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            SpectralPatchNet(config, image_channels) for _ in range(config.num_scales)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> one [B, 1, h_i, w_i] for each scale."""
        outputs = []
        for i, net in enumerate(self.scales):
            if i:
                image = F.interpolate(
                    image,
                    scale_factor=0.5,
                    mode="bilinear",
                    align_corners=True,
                    recompute_scale_factor=True,
                )
            outputs.append(widened(net(image)))
        return outputs


class DownResidualBlock(nn.Module):
    """Two pre-activated 3x3 convolutions plus a shortcut, then average pooling by 2."""

    def __init__(self, in_channels: int, out_channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()

        def block(channels: int) -> ConvBlock:
            conv = conv2d(in_channels, channels, 3, padding=config.padding, spectral_norm=True)
            return ConvBlock(conv, activation=activation(config.activation), pre_activation=True)

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
    """One verdict for the whole image: residual blocks, 4x4 convolution, mean, linear layer."""

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
        self.last = ConvBlock(
            nn.Conv2d(widths[-1], widths[-1], 4), activation=activation(config.activation)
        )
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> one [B, 1]."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        x = self.last(x).mean((2, 3))  # [B, C]
        return [widened(self.head(x))]


def build_discriminator(config: DiscriminatorConfig, image_channels: int) -> nn.Module:
    """The discriminator that `config.kind` names, for images of `image_channels` channels."""
    kinds: dict[str, Callable[[DiscriminatorConfig, int], nn.Module]] = {
        "multiscale-patch": MultiScalePatchDiscriminator,
        "multiresolution-patch": MultiResolutionPatchDiscriminator,
        "global-residual": GlobalResidualDiscriminator,
    }
    return kinds[config.kind](config, image_channels)


def _capped(config: DiscriminatorConfig, channels: int) -> int:
    return channels if config.max_width is None else min(channels, config.max_width)


def _patch_norm(config: DiscriminatorConfig, channels: int) -> nn.Module | None:
    if config.norm == "layer":
        return LayerNorm(channels)
    return InstanceNorm() if config.norm == "instance" else None
