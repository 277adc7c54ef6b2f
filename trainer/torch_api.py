"""The parts of torch that this room uses, from one place.

Without torch they are stand-ins: every module still imports, and the first use raises an error
that names what to install. Import torch from here only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from munit_edge.extras import missing
from munit_edge.interrupts import uninterrupted
from munit_edge.system.openmp import choose_waiting

# OpenMP, which torch loads, reads its environment once.
choose_waiting()

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
    from torch.nn.utils import parametrizations, parametrize
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map
else:
    try:
        # An exception that a signal raises in a call from C++ to Python can abort the process.
        with uninterrupted():
            import torch
            import torch.nn.functional as F
            from torch import Tensor, nn
            from torch.nn.utils import parametrizations, parametrize
            from torch.utils._python_dispatch import TorchDispatchMode
            from torch.utils._pytree import tree_map
    except ModuleNotFoundError as exc:
        if exc.name != "torch":
            raise
        torch = missing("torch", "training and reading checkpoints")
        F = Tensor = TorchDispatchMode = nn = parametrizations = parametrize = tree_map = torch

__all__ = [
    "F",
    "Tensor",
    "TorchDispatchMode",
    "nn",
    "parametrizations",
    "parametrize",
    "torch",
    "tree_map",
]
