"""NumPy without the threads that multiply matrices, for programs that multiply none."""

from __future__ import annotations

import os
import sys

_LIMITS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables that OpenBLAS takes its number of threads from when it is loaded."""


def import_numpy_without_threads() -> None:
    """Import NumPy; its OpenBLAS starts no threads, unless the user has chosen their number.

    They are started at once, wait busily for work that never comes, and so take a core from the
    import itself and from the first image. Only NumPy's own copy of the library is meant: the
    environment is as before when this returns.
    """
    if "numpy" in sys.modules or any(name in os.environ for name in _LIMITS):
        return
    os.environ[_LIMITS[0]] = "1"
    try:
        import numpy  # noqa: F401 - for its effect
    finally:
        del os.environ[_LIMITS[0]]
