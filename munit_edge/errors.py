"""The errors that users meet.

    MunitEdgeError
    ├── ConfigError            a configuration file or option that cannot be used
    ├── InputError             a path, folder, picture or size that cannot be used
    │   └── UnreadableImageError   one picture is broken: skip it and go on
    ├── ModelError             a model directory or checkpoint that is damaged or foreign
    ├── EngineError            a backend or device that cannot run the graphs
    │   ├── MissingExtraError      an optional dependency is not installed
    │   └── UnsupportedGraphError  it has no code for a graph's operators or precision
    ├── ParityError            exported graphs differ from the networks
    │   └── GateError              reduced precision loses more than allowed
    ├── TrainingError          a run that cannot go on
    └── OutputError            results that cannot be written

Every message says what came, what is allowed and what to do. The command line prints it as one
line and ends with exit code 2 (`UnreadableImageError` and `ParityError`: 1). Any other exception is
a fault in munit-edge: one line too, which asks for a report, and exit code 70.
"""

from __future__ import annotations


class MunitEdgeError(Exception):
    """Base of every error that munit-edge raises on purpose."""

    exit_code = 2


class ConfigError(MunitEdgeError):
    """A configuration file or option that cannot be used."""


class InputError(MunitEdgeError):
    """A path, folder, picture or size that cannot be used."""


class UnreadableImageError(InputError):
    """One picture is empty, truncated or no picture at all; others may still be fine."""

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
    """A backend or device that has no code for a graph's operators or precision."""


class ParityError(MunitEdgeError):
    """Exported graphs differ from the networks by more than the tolerance."""

    exit_code = 1


class GateError(ParityError):
    """Reduced precision changes the translations by more than allowed."""


class TrainingError(MunitEdgeError):
    """A training run that cannot go on."""


class OutputError(MunitEdgeError):
    """Results that cannot be written."""
