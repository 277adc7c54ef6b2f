"""A small network that classifies the shape in an image of the sample data.

It is trained on real images of one domain, drawn only for it, and tested on held-out images before
it is used to judge translations into that domain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munit_edge.images.sample_data import SHAPE_KINDS, Label, Shape, ShapeKind, draw, sample_labels
from munit_edge.model.config import Domain
from munit_edge.trainer.torch_api import F, Tensor, nn, torch

WIDTH = 16
BATCH_SIZE = 50
EPOCHS = 10
LEARNING_RATE = 3e-3
MAX_SHIFT = 2
"""Largest shift of training images, in pixels."""


@dataclass(frozen=True)
class ShapeClassifier:
    """A trained classifier and its accuracy."""

    network: nn.Module
    held_out_accuracy: float
    """Accuracy on held-out real images."""
    num_held_out: int

    def share_correct(self, pictures: NDArray[np.uint8], shapes: list[Shape]) -> float:
        """Share of images, uint8 [N, S, S, 3], whose kind of shape it recognises."""
        return _share_correct(self.network, pictures, [shape.kind for shape in shapes])


def train_classifier(
    domain: Domain, size: int, *, num_train: int = 2000, num_held_out: int = 500, seed: int = 1000
) -> ShapeClassifier:
    """Train on images of one domain that are drawn for it.

    Args:
        domain: whose images it will judge.
        size: height and width in pixels.
        num_train: images to train on.
        num_held_out: images for the accuracy.
        seed: for images and weights; must differ from that of the data a model is trained on.
    """
    labels = _labels(domain, num_train + num_held_out, seed)
    pictures = np.stack([draw(label, size) for label in labels])
    kinds = [label.shape.kind for label in labels]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network()
        _fit(network, _inputs(pictures[:num_train]), _targets(kinds[:num_train]))
    accuracy = _share_correct(network, pictures[num_train:], kinds[num_train:])
    return ShapeClassifier(network, accuracy, num_held_out)


def _labels(domain: Domain, count: int, seed: int) -> list[Label]:
    split = f"train{domain.upper()}/"
    return [label for name, label in sample_labels(count, seed) if name.startswith(split)]


def _network() -> nn.Sequential:
    """Images [B, 3, H, W] in [-1, 1] -> a logit for each kind [B, kinds]."""

    def block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    return nn.Sequential(
        block(3, WIDTH, 2),
        block(WIDTH, 2 * WIDTH, 2),
        block(2 * WIDTH, 4 * WIDTH, 1),
        block(4 * WIDTH, 4 * WIDTH, 2),
        block(4 * WIDTH, 4 * WIDTH, 1),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * WIDTH, len(SHAPE_KINDS)),
    )


def _fit(network: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """Train with Adam, a learning rate that falls to 0, and randomly mirrored, shifted images."""
    steps = EPOCHS * -(-len(inputs) // BATCH_SIZE)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    network.train()
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(inputs)), BATCH_SIZE):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(_changed(inputs[rows])), targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.eval()


def _changed(inputs: Tensor) -> Tensor:
    """Randomly mirror and shift a batch, with white at the borders."""
    if torch.rand(()) < 0.5:
        inputs = inputs.flip(3)
    down, right = torch.randint(2 * MAX_SHIFT + 1, (2,)).tolist()
    height, width = inputs.shape[2:]
    padded = F.pad(inputs, [MAX_SHIFT] * 4, value=1.0)
    return padded[:, :, down : down + height, right : right + width]


def _share_correct(
    network: nn.Module, pictures: NDArray[np.uint8], kinds: list[ShapeKind]
) -> float:
    with torch.no_grad():
        found = torch.cat([network(part).argmax(1) for part in torch.split(_inputs(pictures), 500)])
    return float((found == _targets(kinds)).double().mean())


def _inputs(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def _targets(kinds: list[ShapeKind]) -> Tensor:
    return torch.tensor([SHAPE_KINDS.index(kind) for kind in kinds])
