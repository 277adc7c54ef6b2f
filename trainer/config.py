"""The validated configuration of a training run. Needs no torch.

`model` (`munit_edge.model.config.ModelConfig`) describes the networks and is saved with the
weights. All other settings belong to the run and are saved in its folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from munit_edge.images.sizes import DEFAULT_MAX_MEGAPIXELS
from munit_edge.model.config import Domain, ModelConfig
from munit_edge.settings import StrictModel

GanLoss = Literal["lsgan", "nsgan", "hinge"]
GanConvention = Literal["paper", "improved"]
Initialisation = Literal["kaiming", "xavier", "orthogonal", "gaussian", "default"]
Schedule = Literal["step", "constant"]
TrainingPrecision = Literal["fp32", "bf16"]
Augmentation = Literal["colour", "translation", "cutout"]
VggLayer = Literal[
    "relu1_1",
    "relu1_2",
    "relu2_1",
    "relu2_2",
    "relu3_1",
    "relu3_2",
    "relu3_3",
    "relu4_1",
    "relu4_2",
    "relu4_3",
    "relu5_1",
    "relu5_2",
    "relu5_3",
]
OnNonFinite = Literal["stop", "skip"]
BestBy = Literal[
    "reconstruction",
    "image_error",
    "style_error",
    "content_error",
    "cycle_error",
    "style_use",
    "translation_mmd",
    "pair_mmd",
    "fid",
    "kid",
    "lpips",
]
HIGHER_IS_BETTER: frozenset[BestBy] = frozenset({"style_use", "lpips"})
"""For all other measures lower is better."""
TrackerName = Literal[
    "aim",
    "clearml",
    "comet_ml",
    "dvclive",
    "mlflow",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
]


def _user_path(value: Any) -> Any:
    """A path as users write it in a file, where no shell expands it."""
    if isinstance(value, (bool, int, float)):
        raise ValueError(f"{value} is not a path: if it is a name, put it in quotes")
    # A path that exists is taken as it is: "~", "$" and backslashes may be part of a name.
    if not isinstance(value, str) or os.path.lexists(value):
        return value
    if not value.strip():
        raise ValueError("the path is empty: name one, or remove the key")
    if "\\" in value:
        raise ValueError(
            f"'{value}' is a Windows path and does not exist here: write / for \\, and instead "
            "of a drive the folder where it is mounted (/mnt/c in WSL)"
        )
    if "$" in value:
        raise ValueError(
            f"'{value}' does not exist, and variables are not expanded: write out the path"
        )
    if not value.startswith("~"):
        return value
    expanded = os.path.expanduser(value)  # noqa: PTH111
    if expanded == value:
        raise ValueError(f"'{value}' starts with the home folder of a user who does not exist here")
    return expanded


UserPath = Annotated[Path, BeforeValidator(_user_path)]
"""A path that a user gives in a configuration: `~` is expanded."""
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1)]


class ImageSource(StrictModel):
    """Where the images of one domain are."""

    folder: UserPath
    """Folder of images, searched with all its subfolders."""
    list: UserPath | None = None
    """Text file that names the images to use, one path relative to `folder` per line, in any
    encoding that `image_lists.listed_names` knows; null: all."""


class DataConfig(StrictModel):
    """The images and their preparation. The two domains are not paired."""

    root: UserPath | None = None
    """Folder that holds `trainA`, `trainB` (and `testA`, `testB` for the image grids), or
    `images_a`, `images_b`. Null if `train_a` and `train_b`, or `--data`, are given."""
    train_a: ImageSource | None = None
    """Training images of domain a, if they are not in `root`."""
    train_b: ImageSource | None = None
    """Training images of domain b, if they are not in `root`."""
    test_a: ImageSource | None = None
    """Images of domain a for the image grids; null: `testA` of `root`, else training images."""
    test_b: ImageSource | None = None
    """Images of domain b for the image grids; null: `testB` of `root`, else training images."""
    resize: int | None = Field(256, ge=1, le=65_536)
    """Shorter side in pixels before the crop; null: unchanged. Images too small for the crop are
    enlarged to fit it."""
    resize_b: int | None = Field(None, ge=1, le=65_536)
    """Shorter side in pixels for domain b, if it differs from `resize`."""
    crop_height: int = Field(256, ge=1, le=65_536)
    """Height of the random crop in pixels; a multiple of 2**model.num_downsamples."""
    crop_width: int = Field(256, ge=1, le=65_536)
    """Width of the random crop in pixels; a multiple of 2**model.num_downsamples."""
    flip: bool = True
    """Flip images horizontally with probability 1/2."""
    workers: int = Field(2, ge=0, le=1024)
    """Processes that read and prepare batches; 0: the training process itself. Does not change
    which images are drawn."""
    cache: bool = True
    """Keep decoded and resized images in memory, up to half of the memory that is free at the
    start; every worker keeps its own."""
    max_megapixels: float = Field(DEFAULT_MAX_MEGAPIXELS, gt=0, allow_inf_nan=False)
    """Million pixels. Images that are larger, or that resizing would make larger, are skipped
    before they are decoded or resized."""

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if (self.train_a is None) != (self.train_b is None):
            given = "train_b" if self.train_a is None else "train_a"
            raise ValueError(f"only {given} is given: give both train_a and train_b, or root")
        if self.root is not None and self.train_a is not None:
            raise ValueError("both root and train_a, train_b are given: keep one of them")
        return self

    def shorter_side(self, domain: Domain) -> int | None:
        """Shorter side in pixels that images of `domain` are resized to; None: not resized."""
        return self.resize_b if domain == "b" and self.resize_b is not None else self.resize


class LossConfig(StrictModel):
    """The objective: equation 5 of the paper and optional losses.

    `<name>_weight` is the weight of the loss `<name>` in `munit_edge.trainer.losses`.
    """

    gan: GanLoss = "lsgan"
    """`lsgan`: least squares, as in the paper. `nsgan`: non-saturating. `hinge`: as in the improved
    release."""
    gan_convention: GanConvention = "paper"
    """`paper`: the sum over the discriminator's scales. `improved`: the mean over them, and least
    squares halved."""
    gan_weight: Weight = 1.0
    """Weight of the GAN loss, in both updates."""
    image_weight: Weight = 10.0
    """Weight of the image reconstruction (mean absolute error, images in [-1, 1])."""
    style_weight: Weight = 1.0
    """Weight of the style reconstruction (mean absolute error)."""
    content_weight: Weight = 1.0
    """Weight of the content reconstruction (mean absolute error)."""
    cycle_weight: Weight = 0.0
    """Weight of the style-augmented cycle loss (mean absolute error); 0: not computed. 10 is usual
    if the domains differ much or guided styles look wrong."""
    detach_content_target: bool = False
    """Stop the gradient of the content reconstruction at its target. The original program does not;
    without it the encoder is also pulled towards codes that are easy to reconstruct."""
    perceptual_weight: Weight = 0.0
    """Weight of the domain-invariant perceptual loss between an image and its translation (mean
    squared error of instance-normalised VGG-16 features); 0: not computed. The authors of the paper
    used 1 for images of 512 pixels and more."""
    perceptual_file: UserPath | None = None
    """VGG-16 weights with torchvision's names, trained with torchvision's normalisation:
    .safetensors, or a state dictionary (.pth)."""
    perceptual_layer: VggLayer = "relu4_3"
    """The layer whose output is compared: `relu4_3` as in the paper, or `relu1_1` to `relu5_3`; the
    original program uses `relu5_3`."""
    r1_weight: Weight = 0.0
    """Weight (gamma) of the R1 penalty: half the squared gradient of the discriminators' score of
    real images with respect to these images; 0: not computed."""
    r1_interval: int = Field(16, ge=1)
    """The R1 penalty is computed every `r1_interval` iterations, with its weight multiplied by
    `r1_interval`."""
    augment: tuple[Augmentation, ...] = ()
    """Random augmentation of all images that the discriminators see, for small data sets: any of
    `colour`, `translation`, `cutout`."""

    @model_validator(mode="after")
    def _check(self) -> LossConfig:
        if self.perceptual_weight and self.perceptual_file is None:
            raise ValueError(
                f"perceptual_weight is {self.perceptual_weight:g} and perceptual_file is null: "
                "name a file of VGG-16 weights with torchvision's names (.safetensors or .pth), "
                "or set perceptual_weight to 0"
            )
        return self

    @property
    def perceptual_min_size(self) -> int:
        """The smallest height and width in pixels that the perceptual loss takes."""
        block = int(self.perceptual_layer.removeprefix("relu").partition("_")[0])
        return int(2**block)  # halved block - 1 times, and a norm needs more than one value


class OptimizerConfig(StrictModel):
    """Adam with L2 weight decay in the gradient, for generators and discriminators."""

    generator_lr: Rate = 1e-4
    """Initial learning rate of the generators."""
    discriminator_lr: Rate = 1e-4
    """Initial learning rate of the discriminators."""
    beta1: float = Field(0.5, ge=0, lt=1)
    """Decay of Adam's running mean of the gradient."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of Adam's running mean of the squared gradient."""
    weight_decay: Weight = 1e-4
    """L2 weight decay: this times the parameter is added to its gradient, biases included."""
    schedule: Schedule = "step"
    """`step`: multiply both learning rates by `gamma` every `step_size` iterations. `constant`."""
    step_size: int = Field(100_000, ge=1)
    """Iterations between two steps of the schedule; the first step is at iteration `step_size`."""
    gamma: Rate = 0.5
    """Factor of each step."""

    def factor(self, iteration: int) -> float:
        """The factor of the learning rates in `iteration`, counted from 1."""
        steps = iteration // self.step_size if self.schedule == "step" else 0
        return float(self.gamma**steps)


class SpeedConfig(StrictModel):
    """What makes an iteration faster, with equal results up to rounding unless noted."""

    fold_up_sampling: bool = True
    """Compute upsampling and the 5x5 convolution after it as one 3x3 convolution before it, with
    gradients for the 5x5: 9 multiplications instead of 25."""
    fused_adam: bool = True
    """Adam in one pass over the parameters instead of ten."""
    compile: bool = False
    """Run the networks through torch.compile, which takes minutes in the first iteration and needs
    a C++ compiler (CPU) or Triton and a C compiler (CUDA). Discriminators are not compiled in
    iterations with the R1 penalty."""
    channels_last: bool = False
    """Store the weights of convolutions with the channel as the innermost axis, which is faster on
    some CPUs and GPUs."""
    precision: TrainingPrecision = "fp32"
    """`bf16` changes the results: convolutions and linear layers run in bfloat16 (autocast), for
    CPUs and GPUs where that is faster; norms, losses, weights and optimisers stay in float32."""
    reuse_translations: bool = False
    """Changes the results: both updates use the same style codes, so that translations are decoded
    once for both."""


class EvaluationConfig(StrictModel):
    """How `best_by` is measured if it is a number of `munit-edge evaluate`."""

    count: int = Field(50, ge=10, le=2000)
    """Images of each domain, evenly spread over the names: test images if there are any, centre
    crops of the size used for training."""
    styles: int = Field(2, ge=2, le=100)
    """Random styles per image."""
    features: UserPath | None = None
    """Weights of an Inception-v3, or an .onnx graph: adds `fid` and `kid`."""
    lpips: tuple[UserPath, ...] = ()
    """Weights of AlexNet or VGG-16 and the linear layers of LPIPS, in one file or two: adds `lpips`
    (diversity)."""


class TrainConfig(StrictModel):
    """A whole training run."""

    model: ModelConfig = ModelConfig()
    """The networks."""
    data: DataConfig = DataConfig()
    """The images."""
    loss: LossConfig = LossConfig()
    """The objective."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimisers and their schedule."""
    speed: SpeedConfig = SpeedConfig()
    """Faster computation."""
    batch_size: int = Field(1, ge=1, le=65_536)
    """Images of each domain per iteration and process."""
    iterations: int = Field(1_000_000, ge=1, le=10**12)
    """Training iterations; each updates the discriminators once, then the generators once."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the initial weights, of the order and crops of the images, and of the drawn
    styles."""
    generator_init: Initialisation = "kaiming"
    """Initial weights of the generators' convolutions and linear layers: `kaiming` normal (fan in),
    `xavier` normal and `orthogonal` (gain sqrt(2)), `gaussian` (std 0.02), or torch's `default`.
    Biases start at 0 (except with `default`)."""
    discriminator_init: Initialisation = "gaussian"
    """The same for the discriminators."""
    average_decay: float | None = Field(None, ge=0, lt=1)
    """Keep an exponential moving average (EMA) of the generators: a = decay * a + (1 - decay) *
    weights after every iteration (with a smaller decay at the start, so that the initial weights
    are soon forgotten). 0.999 is usual; null: none. Exports use the EMA if there is one."""
    log_interval: int = Field(10, ge=1)
    """Iterations between two points of the loss curves."""
    image_interval: int = Field(1000, ge=1)
    """Iterations between two image grids; the last iteration has one too."""
    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """Trackers that get the curves and image grids in addition to the run's page: any that
    Accelerate supports, such as `tensorboard`, `wandb` or `mlflow`; their packages are installed
    separately."""
    num_display_images: int = Field(8, ge=1)
    """Images of each domain in a grid."""
    num_display_styles: int = Field(4, ge=1)
    """Random styles in a grid, the same in every grid."""
    checkpoint_interval: int = Field(10_000, ge=1)
    """Iterations between two checkpoints; the last iteration has one too."""
    keep_checkpoints: int = Field(3, ge=1)
    """Number of newest checkpoints to keep."""
    best_by: BestBy | None = "reconstruction"
    """Also keep the best checkpoint by this measure. `reconstruction`: the weighted image, style
    and content reconstruction errors on the images of the grids. The others are numbers of
    `munit-edge evaluate`, means over both domains or directions: `image_error`, `style_error`,
    `content_error`, `cycle_error`, `style_use` (higher is better), `translation_mmd`, `pair_mmd`;
    with feature networks also `fid`, `kid`, `lpips` (higher is better). Null: measure nothing."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How the measures of `munit-edge evaluate` are taken."""
    on_non_finite: OnNonFinite = "stop"
    """What to do when a loss or gradient is NaN or infinite. `stop`: end the run; the last
    checkpoint is from before. `skip`: skip and count that update, but stop after 100 iterations in
    a row; this synchronises with the device two more times per iteration."""

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        needed_file = {"fid": "features", "kid": "features", "lpips": "lpips"}.get(
            self.best_by or ""
        )
        if needed_file is not None and not getattr(self.evaluation, needed_file):
            raise ValueError(
                f"best_by is {self.best_by} and evaluation.{needed_file} names no file: name one, "
                "or choose another number"
            )
        if self.speed.compile:
            self._check_compile()
        multiple = self.model.size_multiple
        for key in ("crop_height", "crop_width"):
            size: int = getattr(self.data, key)
            for network, minimum, key_to_lower in self._minimum_sizes():
                needed = -(-minimum // multiple) * multiple
                if size < needed:
                    raise ValueError(
                        f"data.{key} {size} is too small: the {network} needs at least {needed} "
                        f"pixels per side; raise data.{key} or lower {key_to_lower}"
                    )
            if size % multiple:
                raise ValueError(
                    f"data.{key} {size} is not a multiple of {multiple} "
                    f"(2**model.num_downsamples): take {size // multiple * multiple} "
                    f"or {(size // multiple + 1) * multiple}"
                )
        return self

    def files(self) -> list[Path]:
        """Files and folders that the run reads."""
        data = self.data
        sources = (data.train_a, data.train_b, data.test_a, data.test_b)
        paths = [
            data.root,
            *(path for each in sources if each is not None for path in (each.folder, each.list)),
            self.loss.perceptual_file,
            self.evaluation.features,
            *self.evaluation.lpips,
        ]
        return [path for path in paths if path is not None]

    def _check_compile(self) -> None:
        paddings = {
            "model.padding": self.model.padding,
            "model.discriminator.padding": self.model.discriminator.padding,
        }
        for key, padding in paddings.items():
            if padding == "replicate":
                raise ValueError(
                    f"speed.compile does not work with {key} 'replicate', whose gradient "
                    "torch.compile cannot compute: set speed.compile to false, or use reflect or "
                    "zero"
                )

    def _minimum_sizes(self) -> list[tuple[str, int, str]]:
        """Network, its smallest side in pixels, and the keys that lower it."""
        discriminator = self.model.discriminator
        keys = {
            "multiscale-patch": "model.discriminator.num_layers or model.discriminator.num_scales",
            "multiresolution-patch": "model.discriminator.num_scales",
            "global-residual": "model.discriminator.num_layers",
        }
        perceptual = [
            ("perceptual loss", self.loss.perceptual_min_size, "loss.perceptual_layer"),
        ]
        return [
            *(perceptual if self.loss.perceptual_weight else []),
            ("content encoder", self.model.content_min_size, "model.num_downsamples"),
            ("style encoder", self.model.style_min_size, "model.num_style_downsamples"),
            ("discriminator", discriminator.min_image_size, keys[discriminator.kind]),
        ]
