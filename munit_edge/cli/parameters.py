"""From the options on the command line to the option model that checks them.

A command with many options declares them as fields of a dataclass, and takes one object:

    @dataclass(frozen=True, kw_only=True)
    class Parameters:
        model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model directory.")]
        size: Annotated[int | None, typer.Option(help="Shorter side in pixels.")] = None

    @takes(Parameters)
    def command(given: Parameters) -> None:
        options = checked(SomeOptions, given)

Fields are called like those of the option model, so `checked` finds them by name: a new option is
one field here and one there.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from typer.models import OptionInfo, ParameterInfo

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import BaseModel

    P = TypeVar("P", bound=DataclassInstance)
    M = TypeVar("M", bound=BaseModel)


def takes(parameters: type[P]) -> Callable[[Callable[[P], None]], Callable[..., None]]:
    """Make a function of one object a command: Typer sees the object's fields as its parameters."""
    hints = get_type_hints(parameters, include_extras=True)
    signature = inspect.Signature(
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=(
                    inspect.Parameter.empty
                    if field.default is dataclasses.MISSING
                    else field.default
                ),
                annotation=hints[field.name],
            )
            for field in dataclasses.fields(parameters)
        ]
    )

    def decorate(command: Callable[[P], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_values(**values: Any) -> None:
            command(parameters(**values))

        # `inspect.signature`, which Typer asks, prefers it to that of the function.
        with_values.__signature__ = signature  # type: ignore[attr-defined]
        return with_values

    return decorate


def checked(model: type[M], given: DataclassInstance, **computed: Any) -> M:
    """The option model of a command.

    Args:
        model: its fields, and those of models in it, are taken from the fields of `given` that
            have the same name. An option that was not given leaves the model's default.
        given: the parameters.
        computed: fields of the model that are no options themselves.

    Raises:
        ConfigError: an option cannot be used, or two contradict each other.
    """
    from munit_edge.settings import option_fields, validate_options

    values = {name: getattr(given, name, None) for name in option_fields(model)}
    # None: not given, so the model's own default holds.
    values = {name: value for name, value in values.items() if value is not None}
    return validate_options(model, values | computed, option_names(type(given)))


def option_names(parameters: type[DataclassInstance]) -> dict[str, str]:
    """The command line's name of each field: "--timeout", or "MODEL" of an argument."""
    return {name: _name(name, info) for name, info in _declarations(parameters).items()}


def given_names(given: DataclassInstance, fields: list[str]) -> list[str]:
    """Names of the options among `fields` that differ from their default."""
    declared = _declarations(type(given))
    names = []
    for field in dataclasses.fields(given):
        info = declared[field.name]
        default = negated(field.default) if info.callback is negated else field.default
        if field.name in fields and getattr(given, field.name) != default:
            names.append(_name(field.name, info))
    return names


def negated(value: bool) -> bool:
    """Callback of a flag such as --no-audio: its field, `audio`, is true without it."""
    return not value


def _declarations(parameters: type[DataclassInstance]) -> dict[str, ParameterInfo]:
    hints = get_type_hints(parameters, include_extras=True)
    return {
        field.name: hints[field.name].__metadata__[0] for field in dataclasses.fields(parameters)
    }


def _name(field: str, info: ParameterInfo) -> str:
    if not isinstance(info, OptionInfo):
        return (info.metavar or field.upper()).strip("[.]")
    # In `Annotated`, Typer's first name stands where its default would.
    declared = [str(name).partition("/")[0] for name in (info.default, *(info.param_decls or ()))]
    long = [name for name in declared if name.startswith("--")]
    return long[0] if long else f"--{field.replace('_', '-')}"
