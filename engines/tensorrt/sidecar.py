"""What a plan depends on (graph, TensorRT version, GPU), and the sidecar file that records it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from munit_edge.engines.cache_folder import KEY_DIGITS
from munit_edge.engines.tensorrt.builder import BuildOptions
from munit_edge.engines.tensorrt.profiles import Profile
from munit_edge.files.atomic import sha256
from munit_edge.settings import StrictModel

_OTHER = "its sidecar belongs to another engine"


class PlanKey(StrictModel):
    """Everything that a plan depends on; plans with other keys lie beside it."""

    onnx_sha256: str
    """Of the graph and its weights: `GraphEntry.content_sha256`."""
    precision: str
    """Of the graph's weights and arithmetic."""
    tensorrt: str
    """Version that built it; the flavour is `options.target`."""
    gpu: str | None
    """Name of the GPU; None for a plan that was built for compute capabilities."""
    compute_capability: str | None
    """Of that GPU, such as "8.7"."""
    cuda_major: int | None
    """CUDA that TensorRT used; None for a plan that was built without a GPU."""
    platform: str
    """Operating system and processor."""
    profiles: tuple[Profile, ...]
    """Batches and sizes."""
    options: BuildOptions
    """How it was built."""

    def digest(self) -> str:
        """SHA-256 of the key, hexadecimal."""
        # Sorted keys: the digest does not depend on the order of the fields.
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class SidecarError(ValueError):
    """A sidecar cannot be read; the message is the reason."""


class Sidecar(StrictModel):
    """What is known about a plan."""

    format_version: Literal[1] = 1
    """Version of this layout."""
    graph: str
    """Name of the graph, such as "decoder_b"."""
    key: PlanKey
    """What it depends on."""
    model_sha256: str
    """The model's identity, the same in every export of its weights."""
    plan_sha256: str
    """Of the plan's bytes."""
    plan_bytes: int
    """Size of the plan."""
    driver_version: int | None
    """CUDA version of the driver; the plan does not depend on it."""
    built_at: str
    """UTC, ISO 8601."""
    build_seconds: float
    """How long the build took."""
    munit_edge: str
    """Version of munit-edge that built it."""


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises:
        SidecarError: it cannot be read, is damaged or of another version.
    """
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise SidecarError(f"its sidecar cannot be read ({exc.strerror})") from exc
    except ValidationError as exc:
        raise SidecarError(
            "its sidecar is damaged or was written by another version of munit-edge"
        ) from exc


def fault_of(path: Path, sidecar: Sidecar, wanted: PlanKey | None = None) -> str | None:
    """What is wrong with the plan beside the sidecar at `path`, or None; reads the whole plan.

    Args:
        path: of the sidecar.
        sidecar: its contents.
        wanted: the key that it has to have; None: any.
    """
    if wanted is not None and sidecar.key != wanted:
        return _OTHER
    plan = path.with_suffix(".plan")
    try:
        size = plan.stat().st_size
        # The size first: it shows a copy that was cut off without reading the plan.
        if size != sidecar.plan_bytes:
            return f"it has {size} bytes instead of {sidecar.plan_bytes}"
        if sha256(plan) != sidecar.plan_sha256:
            return "its bytes were changed"
    except FileNotFoundError:
        return "the engine's file is missing"
    except OSError as exc:
        return f"it cannot be read ({exc.strerror})"
    # File names have the key's digest: a pair that was copied under another name is not used.
    if path.stem.rpartition("-")[2] != sidecar.key.digest()[:KEY_DIGITS]:
        return _OTHER
    return None


def misfit(key: PlanKey, here: PlanKey) -> str | None:
    """Why a plan of `key` does not run here, or None.

    Args:
        key: the plan's.
        here: the key that the same plan would have if this machine built it.
    """
    options = key.options
    if options.target != here.options.target:
        return f"one was built for {options.target}"
    if options.tf32 != here.options.tf32:
        return "one was built with --tf32" if options.tf32 else "one was built without --tf32"
    if key.platform != here.platform:
        return f"one was built on {key.platform}, this is {here.platform}"
    if not version_fits(key, here.tensorrt):
        return f"one was built with TensorRT {key.tensorrt}, this is {here.tensorrt}"
    # TensorRT-RTX: a plan may be for more GPUs than are asked for.
    if not set(here.options.compute_capabilities) <= set(options.compute_capabilities):
        asked = ", ".join(here.options.compute_capabilities)
        return f"one was built for {', '.join(options.compute_capabilities)}, not for {asked}"
    if key.cuda_major != here.cuda_major:
        return f"one was built with CUDA {key.cuda_major}, this is {here.cuda_major}"
    if not _gpu_fits(key, here):
        mine = f"{here.gpu} ({here.compute_capability})"
        return f"one was built for {key.gpu} ({key.compute_capability}), this is {mine}"
    return None


def lean_misfit(key: PlanKey) -> str | None:
    """Why the lean runtime does not run a plan of `key`, or None."""
    if not key.options.version_compatible:
        return (
            "one was built without --version-compatible, and only TensorRT's lean runtime is "
            "installed"
        )
    return None


def version_fits(key: PlanKey, installed: str) -> bool:
    """Whether TensorRT of version `installed` takes a plan of `key`."""
    if key.tensorrt == installed:
        return True
    built, found = (tuple(map(int, re.findall(r"\d+", v)[:3])) for v in (key.tensorrt, installed))
    # Later versions read it, older ones never do.
    return key.options.version_compatible and found >= built


def _gpu_fits(key: PlanKey, here: PlanKey) -> bool:
    same = key.compute_capability == here.compute_capability
    if same and key.gpu == here.gpu:
        return True
    level = key.options.hardware_compatibility
    # AMPERE_PLUS: any GPU of compute capability 8.0 or newer.
    if level == "ampere-plus" and here.compute_capability:
        return int(here.compute_capability.partition(".")[0]) >= 8
    return level == "same-compute-capability" and same
