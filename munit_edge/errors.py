"""The errors that munit-edge raises.

    MunitEdgeError
    ├── ConfigError            a configuration file or option that cannot be used
    ├── InputError             a path, folder, image or size that cannot be used
    │   └── UnreadableImageError   one image is broken; others may be fine
    ├── ModelError             a model directory or checkpoint that is damaged or foreign
    ├── EngineError            a backend or device that cannot run the graphs
    │   ├── MissingExtraError      an optional dependency is not installed
    │   └── UnsupportedGraphError  it does not support a graph's operators or precision
    ├── ParityError            exported graphs differ from the networks
    │   └── GateError              reduced precision loses more than allowed
    ├── TrainingError          a run that cannot continue
    └── OutputError            results that cannot be written

Every message names what was given, what is allowed and how to fix it. The command line prints it as
one line and ends with exit code 2 (`UnreadableImageError` and `ParityError`: 1). Any other
exception is a bug in munit-edge: one line that asks for a report, and exit code 70.
"""

from __future__ import annotations


class MunitEdgeError(Exception):
    """Base of every error that munit-edge raises on purpose."""

    exit_code = 2


class ConfigError(MunitEdgeError):
    """A configuration file or option that cannot be used."""


class InputError(MunitEdgeError):
    """A path, folder, image or size that cannot be used."""


class UnreadableImageError(InputError):
    """One image is empty, truncated or not an image at all; others may be fine."""

    exit_code = 1


class ModelError(MunitEdgeError):
    """A model directory or checkpoint that is damaged, incomplete or foreign."""


class EngineError(MunitEdgeError):
    """A backend or device that cannot run the graphs."""


class MissingExtraError(EngineError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        # The two wheels of ONNX Runtime overwrite each other's files: the user has to choose.
        choice = " (or 'munit-edge[gpu]' for an NVIDIA GPU, never both)" if extra == "cpu" else ""
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: "
            f"run `pip install 'munit-edge[{extra}]'`{choice}"
        )


class UnsupportedGraphError(EngineError):
    """A backend or device that does not support a graph's operators or precision."""


class ParityError(MunitEdgeError):
    """Exported graphs differ from the networks by more than the tolerance."""

    exit_code = 1


class GateError(ParityError):
    """Reduced precision changes the translations by more than allowed."""


class TrainingError(MunitEdgeError):
    """A training run that cannot continue."""


class OutputError(MunitEdgeError):
    """Results that cannot be written."""
