"""Small models in the two public checkpoint formats, made on the spot, with their answers.

A second, independent telling of what the two programs compute, in plain functions of torch: nothing
here comes from munit_edge. `write_munit_case` and `write_imaginaire_case` write folders that look
like the reference cases: `config.yaml`, checkpoint files, `io.npz` (and `gan_losses.json`).

A network is a function that asks its `Parameters` for tensors by name; on the first call they are
drawn, which fixes the names and shapes of the format at the same place as the arithmetic.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

Settings = dict[str, Any]
Norm = Callable[[Tensor], Tensor]

MUNIT_SETTINGS: Settings = {
    "lr": 0.0001,
    "gen": {
        "dim": 8,
        "mlp_dim": 16,
        "style_dim": 8,
        "activ": "relu",
        "n_downsample": 2,
        "n_res": 2,
        "pad_type": "reflect",
    },
    "dis": {
        "dim": 8,
        "norm": "none",
        "activ": "lrelu",
        "n_layer": 2,
        "gan_type": "lsgan",
        "num_scales": 2,
        "pad_type": "reflect",
    },
    "input_dim_a": 3,
    "input_dim_b": 3,
}

IMAGINAIRE_SETTINGS: Settings = {
    "gen": {
        "type": "imaginaire.generators.munit",
        "latent_dim": 8,
        "num_filters": 8,
        "max_num_filters": 32,
        "num_filters_mlp": 16,
        "num_res_blocks": 1,
        "weight_norm_type": "spectral",
        "pre_act": True,
    },
    "dis": {
        "type": "imaginaire.discriminators.munit",
        "patch_wise": True,
        "num_filters": 8,
        "max_num_filters": 32,
        "num_layers": 2,
        "weight_norm_type": "spectral",
    },
    "trainer": {"gan_mode": "hinge"},
}


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """A copy with values replaced, keys like "gen.dim"; a value of None removes the setting."""
    result = copy.deepcopy(settings)
    for key, value in changes.items():
        *parts, last = key.split(".")
        section = result
        for part in parts:
            section = section[part]
        if value is None:
            del section[last]
        else:
            section[last] = value
    return result


class Parameters(dict[str, Tensor]):
    """Tensors by name, drawn when they are first asked for."""

    def __init__(self, seed: int, *, spectral: bool = False) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)
        self._spectral = spectral

    def draw(self, name: str, *shape: int, mean: float = 0.0, std: float = 0.1) -> Tensor:
        if name not in self:
            self[name] = mean + std * torch.randn(shape, generator=self._generator)
        assert self[name].shape == shape, name
        return self[name]

    def affine(self, name: str, shape: tuple[int, ...], *, spectral: bool) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution or linear layer."""
        bias = self.draw(f"{name}.bias", shape[0])
        fan_in = math.prod(shape[1:])
        if not (spectral and self._spectral):
            return self.draw(f"{name}.weight", *shape, std=math.sqrt(2 / fan_in)), bias
        original = self.draw(f"{name}.weight_orig", *shape, std=1.0)
        matrix = original.reshape(shape[0], -1)
        u, v = f"{name}.weight_u", f"{name}.weight_v"
        if u not in self:
            # Neither exact singular vectors nor random ones: what power iteration leaves.
            start = self.draw(u, shape[0], std=1.0)
            self[v] = F.normalize(matrix.T @ start, dim=0)
            self[u] = F.normalize(matrix @ self[v], dim=0)
        return original / (self[u] @ matrix @ self[v]), bias


def pad(x: Tensor, amount: int, mode: str) -> Tensor:
    modes = {"zero": "constant", "reflect": "reflect", "replicate": "replicate"}
    return F.pad(x, (amount,) * 4, mode=modes[mode]) if amount else x


def instance_norm(x: Tensor) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    variance = x.var((2, 3), unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def per_channel(values: Tensor) -> Tensor:
    """[C] or [B, C] -> broadcastable with [B, C, H, W]."""
    return values.reshape(-1, values.shape[-1], 1, 1)


# ------------------------------------------------------------------------------------------------
# NVlabs/MUNIT


def munit_activation(p: Parameters, layer: str, name: str, x: Tensor) -> Tensor:
    if name == "prelu":
        slope = p.draw(f"{layer}.activation.weight", 1, mean=0.25)
        return torch.where(x > 0, x, slope * x)
    plain = {
        "relu": lambda x: x.clamp_min(0),
        "lrelu": lambda x: torch.where(x > 0, x, 0.2 * x),
        "selu": torch.selu,
        "tanh": torch.tanh,
        "none": lambda x: x,
    }
    return plain[name](x)


def munit_layer_norm(p: Parameters, layer: str, x: Tensor) -> Tensor:
    channels = x.shape[1]
    flat = x.flatten(1)
    mean, std = flat.mean(1), flat.std(1)  # unbiased
    x = (x - mean[:, None, None, None]) / (std[:, None, None, None] + 1e-5)
    gamma = p.draw(f"{layer}.norm.gamma", channels, mean=0.5, std=0.2)
    beta = p.draw(f"{layer}.norm.beta", channels)
    return x * per_channel(gamma) + per_channel(beta)


class MunitNetworks:
    """One domain of an NVlabs/MUNIT model."""

    def __init__(self, settings: Settings, channels: int, seed: int, torch_03: bool) -> None:
        self.gen, self.dis = settings["gen"], settings["dis"]
        self.channels = channels
        self.torch_03 = torch_03
        self.g, self.d = Parameters(seed), Parameters(seed + 1)

    def block(
        self, layer: str, x: Tensor, out: int, kernel: int, stride: int, norm: str, activ: str
    ) -> Tensor:
        padding = (kernel - 1) // 2
        weight, bias = self.g.affine(
            f"{layer}.conv", (out, x.shape[1], kernel, kernel), spectral=False
        )
        x = F.conv2d(pad(x, padding, self.gen["pad_type"]), weight, bias, stride)
        if norm == "in":
            x = instance_norm(x)
            if self.torch_03:
                self.running_statistics(layer, out)
        elif norm == "ln":
            x = munit_layer_norm(self.g, layer, x)
        elif norm == "adain":
            self.running_statistics(layer, out)
            shift, scale = next(self.adain), next(self.adain)
            x = instance_norm(x) * per_channel(scale) + per_channel(shift)
        return munit_activation(self.g, layer, activ, x)

    def running_statistics(self, layer: str, channels: int) -> None:
        """Buffers that nothing reads."""
        self.g.draw(f"{layer}.norm.running_mean", channels)
        self.g.draw(f"{layer}.norm.running_var", channels)

    def residual(self, layer: str, x: Tensor, norm: str) -> Tensor:
        channels, activ = x.shape[1], self.gen["activ"]
        y = self.block(f"{layer}.model.0", x, channels, 3, 1, norm, activ)
        return x + self.block(f"{layer}.model.1", y, channels, 3, 1, norm, "none")

    def content(self, x: Tensor) -> Tensor:
        gen, width = self.gen, self.gen["dim"]
        x = self.block("enc_content.model.0", x, width, 7, 1, "in", gen["activ"])
        for i in range(gen["n_downsample"]):
            width *= 2
            x = self.block(f"enc_content.model.{i + 1}", x, width, 4, 2, "in", gen["activ"])
        for i in range(gen["n_res"]):
            x = self.residual(f"enc_content.model.{gen['n_downsample'] + 1}.model.{i}", x, "in")
        return x

    def style(self, x: Tensor) -> Tensor:
        activ, width = self.gen["activ"], self.gen["dim"]
        x = self.block("enc_style.model.0", x, width, 7, 1, "none", activ)
        for i in range(4):
            width *= 2 if i < 2 else 1
            x = self.block(f"enc_style.model.{i + 1}", x, width, 4, 2, "none", activ)
        x = x.mean((2, 3), keepdim=True)
        shape = (self.gen["style_dim"], width, 1, 1)
        return F.conv2d(x, *self.g.affine("enc_style.model.6", shape, spectral=False))

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        gen, width = self.gen, content.shape[1]
        x = style.flatten(1)
        outputs = [gen["mlp_dim"], gen["mlp_dim"], 4 * gen["n_res"] * width]
        for i, out in enumerate(outputs):
            weight, bias = self.g.affine(f"mlp.model.{i}.fc", (out, x.shape[1]), spectral=False)
            x = F.linear(x, weight, bias)
            if i < 2:
                x = munit_activation(self.g, f"mlp.model.{i}", gen["activ"], x)
        self.adain = iter(x.split(width, dim=1))
        x = content
        for i in range(gen["n_res"]):
            x = self.residual(f"dec.model.0.model.{i}", x, "adain")
        for i in range(gen["n_downsample"]):
            width //= 2
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = self.block(f"dec.model.{2 * i + 2}", x, width, 5, 1, "ln", gen["activ"])
        last = f"dec.model.{2 * gen['n_downsample'] + 1}"
        return self.block(last, x, self.channels, 7, 1, "none", "tanh")

    def discriminate(self, image: Tensor) -> list[Tensor]:
        dis, outputs = self.dis, []
        for scale in range(dis["num_scales"]):
            x, width = image, dis["dim"]
            for i in range(dis["n_layer"]):
                layer = f"cnns.{scale}.{i}"
                shape = (width, x.shape[1], 4, 4)
                weight, bias = self.d.affine(f"{layer}.conv", shape, spectral=False)
                x = F.conv2d(pad(x, 1, dis["pad_type"]), weight, bias, 2)
                if i and dis["norm"] == "in":
                    x = instance_norm(x)
                elif i and dis["norm"] == "ln":
                    x = munit_layer_norm(self.d, layer, x)
                x = munit_activation(self.d, layer, dis["activ"], x)
                width *= 2
            head = self.d.affine(
                f"cnns.{scale}.{dis['n_layer']}", (1, x.shape[1], 1, 1), spectral=False
            )
            outputs.append(F.conv2d(x, *head))
            image = F.avg_pool2d(image, 3, 2, 1, count_include_pad=False)
        return outputs


def write_munit_case(
    folder: Path,
    settings: Settings = MUNIT_SETTINGS,
    *,
    shape: tuple[int, int, int] = (2, 32, 32),
    seed: int = 0,
    discriminators: bool = True,
    torch_03: bool = False,
) -> Path:
    """Write a case of NVlabs/MUNIT and return its generators' file.

    Args:
        folder: where to; made if need be.
        settings: what config.yaml holds.
        shape: batch, height and width of the images.
        seed: of weights and images.
        discriminators: also write their file.
        torch_03: with the buffers that instance norm had in torch 0.3.
    """
    nets = {
        domain: MunitNetworks(settings, settings[f"input_dim_{domain}"], seed + i, torch_03)
        for i, domain in enumerate("ab")
    }
    io = _inputs(shape, settings["input_dim_a"], settings["input_dim_b"], _style_dim(settings))
    io |= _codes_and_images(nets["a"], nets["b"], io)
    for domain, image in (("a", "x_a"), ("b", "x_ab")) if discriminators else ():
        for scale, output in enumerate(nets[domain].discriminate(io[image])):
            io[f"dis_{domain}_{image}_scale{scale}"] = output
    _write_config_and_arrays(folder, settings, io)
    files = {"gen": {d: dict(net.g) for d, net in nets.items()}}
    if discriminators:
        files["dis"] = {d: dict(net.d) for d, net in nets.items()}
    for name, content in files.items():
        torch.save(content, folder / f"{name}_00000010.pt")
    return folder / "gen_00000010.pt"


# ------------------------------------------------------------------------------------------------
# NVlabs/imaginaire


IMAGINAIRE_DEFAULTS: Settings = {
    "max_num_filters": 256,
    "num_mlp_blocks": 2,
    "num_downsamples_style": 4,
    "num_downsamples_content": 2,
    "num_image_channels": 3,
    "pre_act": False,
}


class ImaginaireNetworks:
    """One domain of an NVlabs/imaginaire MUNIT model."""

    def __init__(self, settings: Settings, seed: int, *, spectral: bool) -> None:
        self.gen = IMAGINAIRE_DEFAULTS | settings["gen"]
        self.dis = {"num_discriminators": 3} | settings["dis"]
        self.channels = self.gen["num_image_channels"]
        self.g = Parameters(seed, spectral=spectral)
        self.d = Parameters(seed + 1, spectral=True)

    def conv(
        self,
        p: Parameters,
        layer: str,
        x: Tensor,
        out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: str = "reflect",
        spectral: bool = True,
    ) -> Tensor:
        amount = (kernel - 1) // 2
        shape = (out, x.shape[1], kernel, kernel)
        return F.conv2d(
            pad(x, amount, padding), *p.affine(f"{layer}.conv", shape, spectral=spectral), stride
        )

    def affine_norm(self, layer: str, x: Tensor) -> Tensor:
        channels = x.shape[1]
        weight = self.g.draw(f"{layer}.norm.weight", channels, mean=1.0, std=0.2)
        bias = self.g.draw(f"{layer}.norm.bias", channels)
        return instance_norm(x) * per_channel(weight) + per_channel(bias)

    def adain(self, layer: str, x: Tensor) -> Tensor:
        shape = (2 * x.shape[1], self.latent.shape[1])
        fc = self.g.affine(f"{layer}.norm.fc.layers.conv", shape, spectral=False)
        gamma, beta = F.linear(self.latent, *fc).chunk(2, dim=1)
        return instance_norm(x) * (1 + per_channel(gamma)) + per_channel(beta)

    def residual(self, layer: str, x: Tensor, norm: Callable[[str, Tensor], Tensor]) -> Tensor:
        y = x
        for j in (0, 1):
            inside = f"{layer}.conv_block_{j}.layers"
            if self.gen["pre_act"]:
                y = norm(inside, y).clamp_min(0)
                y = self.conv(self.g, inside, y, x.shape[1], 3)
            else:
                y = self.conv(self.g, inside, y, x.shape[1], 3)
                y = norm(inside, y).clamp_min(0)
        return x + y

    def content(self, x: Tensor) -> Tensor:
        gen, width = self.gen, self.gen["num_filters"]
        for i in range(gen["num_downsamples_content"] + 1):
            layer = f"content_encoder.model.{i}.layers"
            width = min(2 * width, gen["max_num_filters"]) if i else width
            x = self.conv(self.g, layer, x, width, 4 if i else 7, stride=2 if i else 1)
            x = self.affine_norm(layer, x).clamp_min(0)
        for j in range(gen["num_res_blocks"]):
            x = self.residual(f"content_encoder.model.{i + 1 + j}", x, self.affine_norm)
        return x

    def style(self, x: Tensor) -> Tensor:
        width = self.gen["num_filters"]
        for i in range(self.gen["num_downsamples_style"] + 1):
            width *= 2 if i in (1, 2) else 1
            layer = f"style_encoder.model.{i}.layers"
            x = self.conv(self.g, layer, x, width, 4 if i else 7, stride=2 if i else 1).clamp_min(0)
        x = x.mean((2, 3), keepdim=True)
        shape = (self.gen["latent_dim"], width, 1, 1)
        return F.conv2d(x, *self.g.affine(f"style_encoder.model.{i + 2}", shape, spectral=False))

    def decode(self, content: Tensor, style: Tensor) -> Tensor:
        gen, width = self.gen, content.shape[1]
        self.latent = style.flatten(1)
        for i in range(gen["num_mlp_blocks"]):
            shape = (gen["num_filters_mlp"], self.latent.shape[1])
            layer = self.g.affine(f"mlp.model.{i}.layers.conv", shape, spectral=False)
            self.latent = F.linear(self.latent, *layer).clamp_min(0)
        x = content
        for i in range(gen["num_res_blocks"]):
            x = self.residual(f"decoder.decoder.{i}", x, self.adain)
        index = gen["num_res_blocks"]
        for _ in range(gen["num_downsamples_content"]):
            width //= 2
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            layer = f"decoder.decoder.{index + 1}.layers"
            x = self.adain(layer, self.conv(self.g, layer, x, width, 5)).clamp_min(0)
            index += 2
        layer = f"decoder.decoder.{index}.layers"
        return self.conv(self.g, layer, x, self.channels, 7, spectral=False)

    def discriminate(self, image: Tensor) -> list[Tensor]:
        return self.patch(image) if self.dis["patch_wise"] else [self.score(image)]

    def patch(self, image: Tensor) -> list[Tensor]:
        dis, outputs = self.dis, []
        for scale in range(dis["num_discriminators"]):
            x, width, last = image, dis["num_filters"], dis["num_layers"] + 1
            for i in range(last + 1):
                layer = f"discriminators.{scale}.layer{i}.0.layers"
                out = width if i < last else 1
                stride = 2 if i < dis["num_layers"] else 1
                x = self.conv(self.d, layer, x, out, 3, stride=stride, padding="zero")
                x = F.leaky_relu(x, 0.2) if i < last else x
                width = min(2 * width, dis["max_num_filters"])
            outputs.append(x)
            size = [side // 2 for side in image.shape[2:]]
            image = F.interpolate(image, size=size, mode="bilinear", align_corners=True)
        return outputs

    def score(self, image: Tensor) -> Tensor:
        dis, width = self.dis, self.dis["num_filters"]
        x = F.leaky_relu(self.conv(self.d, "model.0.layers", image, width, 1), 0.2)
        for i in range(dis["num_layers"]):
            layer, before = f"model.{2 * i + 1}", width
            width = min(2 * width, dis["max_num_filters"])
            y = x
            for j, out in enumerate((before, width)):
                inside = f"{layer}.conv_block_{j}.layers"
                y = self.conv(self.d, inside, F.leaky_relu(y, 0.2), out, 3, padding="zero")
            if before != width:
                x = self.conv(self.d, f"{layer}.conv_block_s.layers", x, width, 1)
            x = F.avg_pool2d(x + y, 2)
        last = f"model.{2 * dis['num_layers'] + 1}.layers.conv"
        x = F.conv2d(x, *self.d.affine(last, (width, width, 4, 4), spectral=False))
        x = F.leaky_relu(x, 0.2).mean((2, 3))
        return F.linear(x, *self.d.affine("classifier", (1, width), spectral=False))


def write_imaginaire_case(
    folder: Path,
    settings: Settings = IMAGINAIRE_SETTINGS,
    *,
    shape: tuple[int, int, int] = (2, 32, 32),
    seed: int = 0,
    average: str | None = "folded",
    wrapped: bool = True,
    discriminators: bool = True,
) -> Path:
    """Write a case of NVlabs/imaginaire and return its checkpoint file.

    Args:
        folder: where to; made if need be.
        settings: what config.yaml holds; settings may be left out as that program allows.
        shape: batch, height and width of the images.
        seed: of weights and images.
        average: "folded", "spectral" (spectral norm kept in it) or None for no EMA.
        wrapped: with that program's outermost prefix, `module.`.
        discriminators: also store net_D.
    """
    outer = "module." if wrapped else ""
    inner = {"live": "module." if average else "", "average": "averaged_model."}
    kinds = ["live", "average"] if average else ["live"]
    nets = {
        kind: [
            ImaginaireNetworks(
                settings, seed + 10 * k + i, spectral=kind == "live" or average == "spectral"
            )
            for i in (0, 1)
        ]
        for k, kind in enumerate(kinds)
    }
    live_a, live_b = nets["live"]
    io = _inputs(shape, live_a.channels, live_a.channels, live_a.gen["latent_dim"])
    net_g: dict[str, Tensor] = {}
    for kind, (net_a, net_b) in nets.items():
        outputs = _codes_and_images(net_a, net_b, io)
        io |= {f"{kind}_{name}": value for name, value in outputs.items()}
        for domain, net in (("a", net_a), ("b", net_b)):
            prefix = f"{outer}{inner[kind]}autoencoder_{domain}."
            net_g |= {prefix + name: value for name, value in net.g.items()}
    if average:
        net_g[f"{outer}num_updates_tracked"] = torch.tensor(12345)
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"net_G": net_g, "current_epoch": 3, "current_iteration": 12345}
    if discriminators:
        judged = {
            "a": live_a.discriminate(io["x_a"]),
            "b": live_b.discriminate(io["x_b"]),
            "ab": live_b.discriminate(io["live_x_ab"]),
            "ba": live_a.discriminate(io["live_x_ba"]),
        }
        for name, scales in judged.items():
            io |= {f"dis_out_{name}_{i}": output for i, output in enumerate(scales)}
        (folder / "gan_losses.json").write_text(json.dumps(_gan_losses(judged)))
        content["net_D"] = {
            f"{outer}discriminator_{domain}.{name}": value
            for domain, net in (("a", live_a), ("b", live_b))
            for name, value in net.d.items()
        }
    _write_config_and_arrays(folder, settings, io)
    path = folder / "epoch_00003_iteration_000012345_checkpoint.pt"
    torch.save(content, path)
    return path


def _gan_losses(outputs: dict[str, list[Tensor]]) -> dict[str, dict[str, float]]:
    """GAN losses as that program defines them: means over scales, least squares halved."""

    def log_sigmoid(x: Tensor) -> Tensor:
        return torch.log(torch.sigmoid(x.double()))

    real = {
        "hinge": lambda x: (1 - x).clamp_min(0),
        "least_square": lambda x: 0.5 * (x - 1) ** 2,
        "non_saturated": lambda x: -log_sigmoid(x),
    }
    fake = {
        "hinge": lambda x: (1 + x).clamp_min(0),
        "least_square": lambda x: 0.5 * x**2,
        "non_saturated": lambda x: -log_sigmoid(-x),
    }
    generator = real | {"hinge": lambda x: -x}

    def mean(loss: Callable[[Tensor], Tensor], scales: list[Tensor]) -> float:
        return sum(float(loss(x).mean()) for x in scales) / len(scales)

    return {
        mode: {
            "dis_a": mean(real[mode], outputs["a"]) + mean(fake[mode], outputs["ba"]),
            "dis_b": mean(real[mode], outputs["b"]) + mean(fake[mode], outputs["ab"]),
            "gen_a": mean(generator[mode], outputs["ba"]),
            "gen_b": mean(generator[mode], outputs["ab"]),
        }
        for mode in real
    }


# ------------------------------------------------------------------------------------------------
# Both


def _style_dim(settings: Settings) -> int:
    return int(settings["gen"]["style_dim"])


def _inputs(
    shape: tuple[int, int, int], channels_a: int, channels_b: int, style_dim: int
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    batch, *size = shape

    def image(channels: int) -> Tensor:
        pixels = torch.randint(0, 256, (batch, channels, *size), generator=generator)
        return pixels / 127.5 - 1

    def style() -> Tensor:
        return torch.randn(batch, style_dim, 1, 1, generator=generator)

    return {"x_a": image(channels_a), "x_b": image(channels_b), "s_a": style(), "s_b": style()}


def _codes_and_images(net_a: Any, net_b: Any, io: Mapping[str, Tensor]) -> dict[str, Tensor]:
    x_a, x_b, s_a, s_b = io["x_a"], io["x_b"], io["s_a"], io["s_b"]
    c_a, c_b = net_a.content(x_a), net_b.content(x_b)
    s_a_prime, s_b_prime = net_a.style(x_a), net_b.style(x_b)
    return {
        "c_a": c_a,
        "c_b": c_b,
        "s_a_prime": s_a_prime,
        "s_b_prime": s_b_prime,
        "x_a_recon": net_a.decode(c_a, s_a_prime),
        "x_b_recon": net_b.decode(c_b, s_b_prime),
        "x_ab": net_b.decode(c_a, s_b),
        "x_ba": net_a.decode(c_b, s_a),
        "x_ab_guided": net_b.decode(c_a, s_b_prime),
        "x_ba_guided": net_a.decode(c_b, s_a_prime),
    }


def _write_config_and_arrays(folder: Path, settings: Settings, io: Mapping[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    np.savez(folder / "io.npz", **{name: value.numpy() for name, value in io.items()})
