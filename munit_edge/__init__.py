"""munit-edge: train MUNIT, export it, and translate images on any device.

`Translator` is the API for programs; `munit-edge` is the command line.
"""

from __future__ import annotations

from munit_edge.version import __version__

TYPE_CHECKING = False  # as type checkers know it, without loading `typing`

if TYPE_CHECKING:
    from munit_edge.errors import MunitEdgeError
    from munit_edge.translator import Translator

__all__ = ["MunitEdgeError", "Translator", "__version__"]


def __getattr__(name: str) -> object:
    # Lazy, so that `munit-edge --help` pays for nothing that it does not show.
    if name == "Translator":
        from munit_edge.translator import Translator

        return Translator
    if name == "MunitEdgeError":
        from munit_edge.errors import MunitEdgeError

        return MunitEdgeError
    raise AttributeError(f"module 'munit_edge' has no attribute '{name}'")
