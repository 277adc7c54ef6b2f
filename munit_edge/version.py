"""The version of munit-edge: a leaf, so that any module can import it."""

__version__ = "0.1.0"
