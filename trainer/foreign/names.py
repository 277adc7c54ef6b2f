"""The names of our networks' tensors in the two public releases of MUNIT.

A `NameMap` is built from a model's configuration. It maps whole blocks ("content_encoder.down.0" is
"enc_content.model.1"); below a block the names differ only as the tables of leaves say. Names are
relative to one network; prefixes in a file are the reader's concern. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from munit_edge.model.config import DiscriminatorConfig, ModelConfig

# NVlabs/imaginaire uses torch's older spectral norm, which has other names for the same tensors.
_SPECTRAL_NORM_LEAVES = {
    "parametrizations.weight.original": "weight_orig",
    "parametrizations.weight.0._u": "weight_u",
    "parametrizations.weight.0._v": "weight_v",
}
_LAYER_NORM_LEAVES = {"norm.weight": "norm.gamma", "norm.bias": "norm.beta"}


@dataclass(frozen=True)
class NameMap:
    """The names of one of our networks in a foreign program."""

    blocks: dict[str, str]
    """Prefixes, ours to theirs."""
    leaves: dict[str, str]
    """Ends of names that differ, ours to theirs."""
    ignored: frozenset[str] = field(default_factory=frozenset)
    """Their names of tensors that may exist and do not affect the output."""

    def foreign(self, name: str) -> str:
        """Their name of our tensor `name`."""
        # The longest prefix that is mapped: dots are cut from the right.
        block = name
        while block not in self.blocks:
            block, dot, _ = block.rpartition(".")
            assert dot, f"no block holds {name}"  # every module must be mapped
        leaf = name[len(block) + 1 :]
        for ours, theirs in self.leaves.items():
            if leaf == ours or leaf.endswith("." + ours):
                leaf = leaf[: len(leaf) - len(ours)] + theirs
                break
        return f"{self.blocks[block]}.{leaf}"


def generator_names(config: ModelConfig) -> NameMap:
    """The names of one domain's generator in the program of `config.architecture`."""
    if config.architecture == "munit":
        blocks = dict(_munit_generator(config))
        return NameMap(blocks, _LAYER_NORM_LEAVES, frozenset(_running_statistics(blocks)))
    return NameMap(dict(_imaginaire_generator(config)), _SPECTRAL_NORM_LEAVES)


def discriminator_names(config: DiscriminatorConfig) -> NameMap:
    """The names of one domain's discriminator in the program of `config.kind`."""
    if config.kind == "multiscale-patch":
        return NameMap(dict(_munit_discriminator(config)), _LAYER_NORM_LEAVES)
    patch = config.kind == "multiresolution-patch"
    blocks = _imaginaire_patch(config) if patch else _imaginaire_global(config)
    return NameMap(dict(blocks), _SPECTRAL_NORM_LEAVES)


def _munit_generator(config: ModelConfig) -> Iterator[tuple[str, str]]:
    style_downs, downs = config.num_style_downsamples, config.num_downsamples
    yield "style_encoder.stem", "enc_style.model.0"
    for i in range(style_downs):
        yield f"style_encoder.down.{i}", f"enc_style.model.{1 + i}"
    yield "style_encoder.head", f"enc_style.model.{style_downs + 2}"  # after the pooling
    yield "content_encoder.stem", "enc_content.model.0"
    for i in range(downs):
        yield f"content_encoder.down.{i}", f"enc_content.model.{1 + i}"
    # All residual blocks are one module there: the last of the encoder, the first of the decoder.
    for i in range(config.num_res_blocks):
        for j in (0, 1):
            theirs = f"model.{i}.model.{j}"
            yield (
                f"content_encoder.residual.{i}.block_{j}",
                f"enc_content.model.{1 + downs}.{theirs}",
            )
            yield f"decoder.residual.{i}.block_{j}", f"dec.model.0.{theirs}"
    for i in range(downs):
        yield f"decoder.up.{i}", f"dec.model.{2 + 2 * i}"  # each after its upsampling layer
    yield "decoder.to_image", f"dec.model.{1 + 2 * downs}"
    # The MLP is a sibling of the decoder there. Activations have tensors only if they are PReLU.
    for i in range(config.num_mlp_layers):
        yield f"decoder.adain_head.linear.{i}", f"mlp.model.{i}.fc"
        yield f"decoder.adain_head.activations.{i}", f"mlp.model.{i}.activation"


def _running_statistics(blocks: dict[str, str]) -> Iterator[str]:
    """Statistics that NVlabs/MUNIT stores but never uses.

    Its AdaIN layers have such buffers, and so has instance norm in files of torch 0.3, including
    the public ones. Both normalise every image with its own mean and variance.
    """
    for ours, theirs in blocks.items():
        if ours.startswith(("content_encoder.", "decoder.residual.")):
            yield f"{theirs}.norm.running_mean"
            yield f"{theirs}.norm.running_var"
            yield f"{theirs}.norm.num_batches_tracked"


def _imaginaire_generator(config: ModelConfig) -> Iterator[tuple[str, str]]:
    style_downs, downs = config.num_style_downsamples, config.num_downsamples
    blocks = config.num_res_blocks
    yield "style_encoder.stem", "style_encoder.model.0.layers"
    for i in range(style_downs):
        yield f"style_encoder.down.{i}", f"style_encoder.model.{1 + i}.layers"
    yield "style_encoder.head", f"style_encoder.model.{style_downs + 2}"  # after the pooling
    yield "content_encoder.stem", "content_encoder.model.0.layers"
    for i in range(downs):
        yield f"content_encoder.down.{i}", f"content_encoder.model.{1 + i}.layers"
    decoder_layers = []  # those with AdaIN, in order
    for i in range(blocks):
        for j in (0, 1):
            theirs = f"conv_block_{j}.layers"
            yield (
                f"content_encoder.residual.{i}.block_{j}",
                f"content_encoder.model.{1 + downs + i}.{theirs}",
            )
            decoder_layers.append(f"decoder.decoder.{i}.{theirs}")
            yield f"decoder.residual.{i}.block_{j}", decoder_layers[-1]
    for i in range(downs):
        # Upsampling layers without tensors are counted: blocks + 2 * i is the one before.
        decoder_layers.append(f"decoder.decoder.{blocks + 1 + 2 * i}.layers")
        yield f"decoder.up.{i}", decoder_layers[-1]
    yield "decoder.to_image", f"decoder.decoder.{blocks + 2 * downs}.layers"
    # There each AdaIN layer holds its own linear layer; here the head has them in the same order.
    for i, layer in enumerate(decoder_layers):
        yield f"decoder.adain_head.adain.{i}", f"{layer}.norm.fc.layers.conv"
    for i in range(config.num_mlp_layers):
        yield f"decoder.adain_head.linear.{i}", f"mlp.model.{i}.layers.conv"


def _munit_discriminator(config: DiscriminatorConfig) -> Iterator[tuple[str, str]]:
    for scale in range(config.num_scales):
        for i in range(config.num_layers):
            yield f"scales.{scale}.blocks.{i}", f"cnns.{scale}.{i}"
        yield f"scales.{scale}.head", f"cnns.{scale}.{config.num_layers}"


def _imaginaire_patch(config: DiscriminatorConfig) -> Iterator[tuple[str, str]]:
    for scale in range(config.num_scales):
        for i in range(config.num_layers + 2):  # with stride 2, one that widens, the last
            yield f"scales.{scale}.blocks.{i}", f"discriminators.{scale}.layer{i}.0.layers"


def _imaginaire_global(config: DiscriminatorConfig) -> Iterator[tuple[str, str]]:
    yield "stem", "model.0.layers"
    for i in range(config.num_layers):
        theirs = f"model.{1 + 2 * i}"  # a pooling layer follows each
        for j in (0, 1):
            yield f"blocks.{i}.block_{j}", f"{theirs}.conv_block_{j}.layers"
        yield f"blocks.{i}.shortcut", f"{theirs}.conv_block_s.layers.conv"
    yield "last", f"model.{1 + 2 * config.num_layers}.layers"
    yield "head", "classifier"
