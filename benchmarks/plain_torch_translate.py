"""The plain torch program that `munit-edge translate` is compared with.

    python benchmarks/plain_torch_translate.py CHECKPOINT PHOTO OUT [--styles 10] [--decode batch]

It encodes the photo once, decodes every style (in one batch or one by one), and writes PNG files: a
program that a torch user would write in half an hour. The networks are the project's own plain
torch modules; nothing else of the project is used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from munit_edge.model.config import ModelConfig
from munit_edge.trainer.networks import Generator


def main() -> int:
    parser = argparse.ArgumentParser(description="Translate one photo a2b with plain torch.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("out", type=Path, help="folder of the results, which is created")
    parser.add_argument("--styles", type=int, default=1, help="random styles [1]")
    parser.add_argument(
        "--lean", action="store_true", help="load only the two networks that are needed"
    )
    parser.add_argument(
        "--decode", choices=("batch", "each"), default="each", help="styles at once [each]"
    )
    options = parser.parse_args()

    source, target = (_lean if options.lean else _whole)(options.checkpoint)
    pixels = torch.from_numpy(np.array(Image.open(options.photo).convert("RGB")))
    image = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
    torch.manual_seed(0)
    styles = torch.randn(options.styles, _config(options.checkpoint).style_dim)
    options.out.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        content = source(image)
        step = len(styles) if options.decode == "batch" else 1
        for start in range(0, len(styles), step):
            codes = styles[start : start + step]
            results = target(content.expand(len(codes), -1, -1, -1), codes)
            levels = ((results + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
            for index, result in enumerate(levels.permute(0, 2, 3, 1).numpy(), start):
                Image.fromarray(result).save(options.out / f"{index:02d}.png")
    return 0


def _config(checkpoint: Path) -> ModelConfig:
    return ModelConfig(**yaml.safe_load((checkpoint / "model.yaml").read_text()))


def _whole(checkpoint: Path) -> tuple[nn.Module, nn.Module]:
    """Content encoder of a and decoder of b, the usual way: make the model, load all weights."""
    config = _config(checkpoint)
    channels = {"a": config.channels_a, "b": config.channels_b}
    generators = {domain: Generator(config, num) for domain, num in channels.items()}
    model = nn.ModuleDict(generators)
    model.load_state_dict(load_file(checkpoint / "generators.safetensors"))
    model.eval()
    return generators["a"].content_encoder, generators["b"].decoder


def _lean(checkpoint: Path) -> tuple[nn.Module, nn.Module]:
    """The same networks, without unneeded weights in memory and without copies."""
    config = _config(checkpoint)
    with torch.device("meta"):
        source = Generator(config, config.channels_a).content_encoder
        target = Generator(config, config.channels_b).decoder
    with safe_open(checkpoint / "generators.safetensors", "pt") as weights:
        for module, prefix in ((source, "a.content_encoder."), (target, "b.decoder.")):
            names = [name for name in weights.keys() if name.startswith(prefix)]  # noqa: SIM118
            state = {name.removeprefix(prefix): weights.get_tensor(name) for name in names}
            module.load_state_dict(state, assign=True)
            module.eval()
    return source, target


if __name__ == "__main__":
    raise SystemExit(main())
