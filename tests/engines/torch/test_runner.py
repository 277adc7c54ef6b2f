"""What the torch runner does to torch's settings; that it computes right is parity's subject."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from munit_edge.engines.devices import Device
from munit_edge.engines.torch.runner import _multiplying


def settings(*, cudnn: bool, matmul: bool) -> SimpleNamespace:
    """torch, as far as its multiplications go."""
    return SimpleNamespace(
        backends=SimpleNamespace(
            cudnn=SimpleNamespace(allow_tf32=cudnn),
            cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=matmul)),
        )
    )


@pytest.mark.parametrize("wanted", [False, True])
def test_tf32_is_set_for_a_run_only(wanted: bool) -> None:
    torch = settings(cudnn=True, matmul=False)
    with pytest.raises(RuntimeError), _multiplying(torch, Device("cuda", tf32=wanted)):
        assert torch.backends.cudnn.allow_tf32 is wanted
        assert torch.backends.cuda.matmul.allow_tf32 is wanted
        raise RuntimeError
    assert torch == settings(cudnn=True, matmul=False)


def test_a_cpu_leaves_them_alone() -> None:
    torch = settings(cudnn=True, matmul=False)
    with _multiplying(torch, Device("cpu")):
        assert torch == settings(cudnn=True, matmul=False)
