"""Optional packages: imported if installed, else named with the command that installs them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, NoReturn

from munit_edge.errors import MissingExtraError

EXTRAS = {
    "accelerate": "train",
    "av": "video",
    "cuda": "trt",
    "onnx": "export",
    "onnxruntime": "cpu",
    "onnxscript": "export",
    "pillow_heif": "heif",
    "safetensors": "train",
    "tensorboard": "train",
    "torch": "train",
}
"""The extra that installs each optional package."""


def require(module: str, purpose: str, *, extra: str | None = None) -> ModuleType:
    """Import an optional module.

    Args:
        module: dotted name, such as "onnx.checker".
        purpose: the subject of the message, such as "exporting graphs".
        extra: the extra to name; None: the one in `EXTRAS`.

    Raises:
        MissingExtraError: the package is not installed; the message contains the pip command.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        # Installed, but something that it imports is missing.
        if exc.name != package:
            raise
        raise MissingExtraError(package, extra or EXTRAS[package], purpose) from exc


class _Missing(type):
    """Metaclass of stand-ins: any attribute is the stand-in again, and calling it raises."""

    package: str
    purpose: str

    def __getattr__(cls, name: str) -> Any:
        # Python and its tools probe for special names, and must not find them.
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, item: object) -> Any:
        return cls

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise MissingExtraError(cls.package, EXTRAS[cls.package], cls.purpose)


def missing(package: str, purpose: str) -> Any:
    """A stand-in for a package that is not installed.

    Modules that define classes on top of the package can still be imported, read and documented;
    the first use of such a class or function raises `MissingExtraError`.
    """
    return _Missing(package, (), {"package": package, "purpose": purpose})
