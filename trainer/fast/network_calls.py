"""How a training step calls its networks: by themselves, or through torch.compile.

The call is compiled and not the module, so names, checkpoints, the EMA and a run's grids do not
depend on it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from munit_edge.errors import EngineError
from munit_edge.model.config import DOMAINS
from munit_edge.trainer.torch_api import Tensor, nn, torch

Call = Callable[..., Any]

BACKEND = "inductor"
"""Of torch.compile: C++ on the CPU, Triton on a GPU."""

_NEEDED = {
    "cpu": "a C++ compiler, such as g++ (on Debian and Ubuntu `apt install g++`)",
    "cuda": "Triton, which torch brings for CUDA on Linux, a C compiler and Python's headers (on "
    "Debian and Ubuntu `apt install gcc python3-dev`)",
}


class GeneratorCalls(NamedTuple):
    """The networks of one generator; each takes and returns what its `forward` does."""

    content_encoder: Call
    style_encoder: Call
    decoder: Call

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image [B, C, H, W] -> content [B, content_channels, h, w], style [B, S]."""
        return self.content_encoder(image), self.style_encoder(image)


@dataclass(frozen=True)
class NetworkCalls:
    """The calls that replace the networks, by domain."""

    generators: dict[str, GeneratorCalls]
    discriminators: dict[str, Call]


def network_calls(
    generators: nn.ModuleDict, discriminators: nn.ModuleDict, *, compiled: bool
) -> NetworkCalls:
    """The calls of these networks.

    Raises:
        EngineError: they are to be compiled, and something that this needs is missing.
    """
    call = _itself
    if compiled:
        # Dynamo looks at the gradients of content codes, which have none of their own.
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        # It makes an object of each autograd function, only to look at its class.
        warnings.filterwarnings("ignore", ".* should not be instantiated", DeprecationWarning)
        check_compiler(next(generators.parameters()).device)
        call = _compiled
    return NetworkCalls(
        {
            domain: GeneratorCalls(
                *(call(generators[domain].get_submodule(name)) for name in GeneratorCalls._fields)
            )
            for domain in DOMAINS
        },
        {domain: call(discriminators[domain]) for domain in DOMAINS},
    )


def check_compiler(device: torch.device) -> None:
    """Compile one line for `device`; seconds, since the compiler itself has to start.

    Raises:
        EngineError: it cannot be done; the message names what to install.
    """
    try:
        line = torch.compile(lambda x: x.sin() + 1, backend=BACKEND, dynamic=False)
        line(torch.ones(8, device=device))
    except Exception as exc:  # what is missing decides who fails, and how
        raise EngineError(
            f"speed.compile is true, and torch.compile fails here ({_reason(exc)}): install "
            f"{_NEEDED.get(device.type, 'what it asks for')}, or set speed.compile to false"
        ) from exc


@contextlib.contextmanager
def compile_errors() -> Iterator[None]:
    """Within the block a network that cannot be compiled is an `EngineError`."""
    try:
        yield
    except RuntimeError as exc:
        # Its classes are in a module that takes seconds to import where nothing is compiled.
        if not any(cls.__module__ == "torch._dynamo.exc" for cls in type(exc).__mro__):
            raise
        raise EngineError(
            f"torch.compile failed on a network ({_reason(exc)}): set speed.compile to false "
            "and go on with --resume"
        ) from exc


def _itself(network: nn.Module) -> Call:
    return network


def _compiled(network: nn.Module) -> Call:
    # The function of the class, so that both domains share what was compiled. Sizes are fixed.
    return torch.compile(network.forward, backend=BACKEND, dynamic=False)


def _reason(exc: Exception) -> str:
    """The error that was the first, in one line."""
    while (inner := getattr(exc, "inner_exception", None)) is not None:
        exc = inner
    lines = [line for line in str(exc).splitlines() if line.strip()]
    return ": ".join([type(exc).__name__, *lines[:1]])
