"""Kernel two-sample test: do two sets of samples come from the same distribution?

Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012: the maximum mean discrepancy (MMD).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from munit_edge.settings import StrictModel

Samples = NDArray[np.float64]

NUM_PERMUTATIONS = 999
"""The smallest p-value is 1 / (this + 1)."""
_SLACK = 1e-12
"""Smaller differences are rounding errors."""


class KernelTest(StrictModel):
    """Result of a test whether two sets of samples have the same distribution."""

    mmd_squared: float
    """Unbiased estimate of the squared MMD: near 0 (or slightly below) for equal distributions."""
    p_value: float
    """Share of random splits of all samples into two sets that differ at least as much, 0.001 to 1.
    Uniform for equal distributions; below 0.05 they probably differ."""
    by_chance: tuple[float, float]
    """5th and 95th percentile of the squared MMD over random splits."""
    samples: tuple[int, int]
    """Number of samples in each set."""


def kernel_test(first: Samples, second: Samples, seed: int = 0) -> KernelTest:
    """Compare two sets of samples.

    The kernel is Gaussian; its width is the median distance of two samples.

    Args:
        first: [N, D], N at least 2.
        second: [M, D], M at least 2.
        seed: of the permutations.
    """
    kernel = _gaussian_kernel(np.concatenate([first, second]).astype(np.float64))
    in_first = np.zeros((len(kernel), 1))
    in_first[: len(first)] = 1
    random = np.random.default_rng(seed)
    divisions = np.hstack(
        [in_first, *(random.permutation(in_first) for _ in range(NUM_PERMUTATIONS))]
    )
    # The kernel is computed once; a split only says which samples belong together.
    found = _unbiased_mmd(kernel, divisions)
    as_much = int((found[1:] >= found[0] - _SLACK).sum())
    low, high = np.quantile(found[1:], (0.05, 0.95))
    return KernelTest(
        mmd_squared=float(found[0]),
        # The split that was measured counts as one of the random ones: p is never 0.
        p_value=(1 + as_much) / (1 + NUM_PERMUTATIONS),
        by_chance=(float(low), float(high)),
        samples=(len(first), len(second)),
    )


def _gaussian_kernel(samples: Samples) -> Samples:
    """[N, N], zero on the diagonal: a sample is never compared with itself."""
    samples = samples - samples.mean(axis=0)  # avoids cancellation in the squares
    lengths = (samples**2).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths - 2 * samples @ samples.T, 0)
    width = float(np.median(squares[np.triu_indices(len(squares), 1)]))
    # Most samples are equal: the limit of the kernel for width 0.
    kernel = np.exp(-squares / (2 * width)) if width > 0 else (squares == 0).astype(np.float64)
    np.fill_diagonal(kernel, 0)
    return np.asarray(kernel)


def _unbiased_mmd(kernel: Samples, in_first: Samples) -> Samples:
    """Squared MMD of each split of the samples.

    Args:
        kernel: [N, N], zero on the diagonal.
        in_first: [N, P]; 1: the sample is in the first set, 0: in the second.
    """
    n = in_first[:, 0].sum()
    m = len(in_first) - n
    towards_first = kernel @ in_first
    within_first = (in_first * towards_first).sum(axis=0)
    across = ((1 - in_first) * towards_first).sum(axis=0)
    within_second = kernel.sum() - within_first - 2 * across
    mmd = within_first / (n * (n - 1)) + within_second / (m * (m - 1)) - 2 * across / (n * m)
    return np.asarray(mmd)
