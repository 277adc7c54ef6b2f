"""The parts of torch that this room uses, from one place.

Without torch they are stand-ins: every module still imports, and the first use says what to
install. Import torch from here only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from munit_edge.extras import missing

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
    from torch.nn.utils import parametrizations, parametrize
else:
    try:
        import torch
        import torch.nn.functional as F
        from torch import Tensor, nn
        from torch.nn.utils import parametrizations, parametrize
    except ModuleNotFoundError as exc:
        if exc.name != "torch":
            raise
        torch = missing("torch", "training and reading checkpoints")
        F = Tensor = nn = parametrizations = parametrize = torch

__all__ = ["F", "Tensor", "nn", "parametrizations", "parametrize", "torch"]
