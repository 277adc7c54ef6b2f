"""VGG features from a small network that is made here, with torchvision's names."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from munit_edge.errors import InputError, ModelError
from munit_edge.trainer.config import VggLayer
from munit_edge.trainer.features.vgg import VggFeatures, feature_index, read_vgg
from munit_edge.trainer.losses import perceptual_loss

WIDTHS = (2, 3, 4, 3, 5, 4, 3, 6, 5, 4, 3, 2, 4)


def plain_vgg() -> nn.Sequential:
    """`features` of torchvision's VGG-16, layer by layer, with few channels."""
    layers: list[nn.Module] = []
    inputs = 3
    for number, width in enumerate(WIDTHS):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
        if number in (1, 3, 6, 9, 12):
            layers.append(nn.MaxPool2d(2))
        inputs = width
    return nn.Sequential(*layers)


def write_vgg(path: Path) -> nn.Sequential:
    torch.manual_seed(0)
    network = plain_vgg()
    tensors = {f"features.{name}": value for name, value in network.state_dict().items()}
    tensors["classifier.0.weight"] = torch.zeros(2, 2)  # is not looked at
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return network


def test_places_are_torchvisions() -> None:
    places = [feature_index(i) for i in range(13)]
    assert places == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_every_layer_gives_what_the_plain_network_gives(suffix: str, tmp_path: Path) -> None:
    network = write_vgg(tmp_path / f"vgg.{suffix}")
    image = torch.rand(2, 3, 33, 40) * 2 - 1
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((image + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    relus = [i for i, layer in enumerate(network) if isinstance(layer, nn.ReLU)]
    for layer, place in zip(get_args(VggLayer), relus, strict=True):
        features = read_vgg(tmp_path / f"vgg.{suffix}", layer)
        wanted = network[: place + 1](x)
        assert torch.allclose(features(image), wanted, atol=1e-6), layer


def test_its_weights_are_fixed_and_gradients_reach_the_image(tmp_path: Path) -> None:
    write_vgg(tmp_path / "vgg.pth")
    features = read_vgg(tmp_path / "vgg.pth", "relu2_2")
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    features(image).sum().backward()
    assert image.grad is not None
    assert image.grad.any()
    assert not any(p.requires_grad for p in features.parameters())


def test_grey_is_a_colour_and_transparency_is_not_looked_at(tmp_path: Path) -> None:
    write_vgg(tmp_path / "vgg.pth")
    features = read_vgg(tmp_path / "vgg.pth", "relu1_2")
    grey = torch.rand(1, 1, 8, 8)
    assert torch.equal(features(grey), features(grey.repeat(1, 3, 1, 1)))
    rgba = torch.rand(1, 4, 8, 8)
    assert torch.equal(features(rgba), features(rgba[:, :3]))


def test_the_loss_ignores_each_channels_mean_and_std() -> None:
    features = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    factor = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64)[:, None, None]
    assert perceptual_loss(features * factor + 3, features).item() < 1e-8
    # Two normalised signals without correlation: mean of (x - y)^2 is 1 + 1.
    x = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64).view(1, 1, 2, 2)
    y = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).view(1, 1, 2, 2)
    assert perceptual_loss(x, y).item() == pytest.approx(2, rel=1e-4)
    assert perceptual_loss(x, -x).item() == pytest.approx(4, rel=1e-4)


def test_a_channel_that_is_everywhere_0_makes_no_nan() -> None:
    dead = torch.zeros(1, 2, 4, 4, requires_grad=True)
    perceptual_loss(dead, torch.randn(1, 2, 4, 4)).backward()
    assert dead.grad is not None
    assert torch.isfinite(dead.grad).all()


def broken(tmp_path: Path, **changes: torch.Tensor | None) -> Path:
    """A weight file with some tensors replaced, or left out where None."""
    write_vgg(tmp_path / "vgg.pth")
    tensors = torch.load(tmp_path / "vgg.pth", weights_only=True)
    for name, value in changes.items():
        tensors.pop(f"features.{name}")
        if value is not None:
            tensors[f"features.{name}"] = value
    torch.save(tensors, tmp_path / "vgg.pth")
    return tmp_path / "vgg.pth"


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no features\.5\.weight: VGG-16 weights with"):
        read_vgg(broken(tmp_path, **{"5.weight": None}), "relu2_2")
    with pytest.raises(ModelError, match=r"features\.2 has weights \(3, 9, 3, 3\)"):
        read_vgg(broken(tmp_path, **{"2.weight": torch.zeros(3, 9, 3, 3)}), "relu2_2")
    assert isinstance(read_vgg(broken(tmp_path, **{"28.bias": None}), "relu4_3"), VggFeatures)
    for name, data in (("list.pth", [1]), ("numbers.pth", {"features.0.weight": 1})):
        torch.save(data, tmp_path / name)
        with pytest.raises(ModelError, match="does not hold tensors by name: VGG-16"):
            read_vgg(tmp_path / name, "relu1_1")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(ModelError, match="cannot be read as"):
            read_vgg(tmp_path / name, "relu1_1")
        with pytest.raises(InputError):
            read_vgg(tmp_path / f"missing_{name}", "relu1_1")
