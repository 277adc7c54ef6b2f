"""Validated settings: their base class, and messages that name the fault and what is allowed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from munit_edge.errors import ConfigError
from munit_edge.files.names import storable, stored_name
from munit_edge.files.plain_data import cut, shown

MAX_MESSAGE = 500
"""Characters of the description of one fault."""
MAX_EDITS = 2
"""Characters by which a misspelt name differs; names that differ more are other names."""

T = TypeVar("T", bound=BaseModel)


class StrictModel(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """JSON; text with bytes that are not UTF-8, as file names may have, is escaped.

        See `munit_edge.files.names.stored_name`.
        """
        try:
            return super().model_dump_json(indent=indent, **options)
        except PydanticSerializationError:  # it writes no lone surrogates
            data = _storable(self.model_dump(mode="json", **options))
            return json.dumps(data, indent=indent, ensure_ascii=False)


def _storable(data: Any) -> Any:
    """Plain data; text that is not UTF-8 is escaped as `stored_name` does."""
    if isinstance(data, str):
        return data if storable(data) == data else stored_name(data)
    if isinstance(data, dict):
        return {key: _storable(value) for key, value in data.items()}
    return [_storable(item) for item in data] if isinstance(data, list) else data


def closest(name: str, allowed: list[str]) -> str:
    """A hint: the one of `allowed` that `name` misspells, or the whole list."""
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.7)
    # Short names are similar to many others: one edit for them.
    if near and _edits(name, near[0]) <= (MAX_EDITS if len(name) > MAX_EDITS**2 else 1):
        return f"did you mean '{near[0]}'?"
    return "allowed: " + ", ".join(sorted(allowed))


def has_key(model: type[BaseModel], key: str) -> bool:
    """Whether a dotted key ("model.width") names a field of `model` or of a nested model."""
    *parents, last = key.split(".")
    for part in parents:
        nested = _nested(model, part)
        if nested is None:
            return False
        model = nested
    return last in model.model_fields


def validate(model: type[T], data: Any, source: str) -> T:
    """Build `model` from plain data; one message names every fault.

    Args:
        model: the configuration class.
        data: mappings, lists and scalars, as read from YAML or JSON.
        source: name of the data in the message, such as the file's path.

    Raises:
        ConfigError: an unknown key (the closest one is named), a wrong value, a broken rule.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{source}: expected keys and values, got {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        faults = [_describe(model, dict(error)) for error in exc.errors(include_url=False)]
        raise ConfigError(f"{source}: " + "; ".join(faults)) from exc


def option_fields(model: type[BaseModel]) -> list[str]:
    """Fields of an option model; a model that it holds is replaced by its own fields."""
    fields = []
    for name in model.model_fields:
        held = _held(model, name)
        fields += [name] if held is None else option_fields(held)
    return fields


def validate_options(
    model: type[T], options: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> T:
    """`validate` for the options of a command, which messages call by their names there.

    Args:
        model: the option model; a field may be a model itself.
        options: values by field, those of models in the model beside the others.
        names: the options' names by field, such as {"timeout_s": "--timeout"}; of others it is the
            field's with hyphens.

    Raises:
        ConfigError: an option cannot be used, or two contradict each other.
    """
    try:
        return model.model_validate(_nest(model, dict(options)))
    except ValidationError as exc:
        faults = [
            _describe_option(model, names or {}, dict(error))
            for error in exc.errors(include_url=False)
        ]
        raise ConfigError("; ".join(dict.fromkeys(faults))) from exc


def given_options(are_given: Mapping[str, bool]) -> str:
    """Names of the options that were given, for a message; "" if none was.

    Args:
        are_given: whether each option was given, by its name, such as {"--json": True}.
    """
    return " and ".join(name for name, is_given in are_given.items() if is_given)


def _nest(model: type[BaseModel], options: dict[str, Any]) -> dict[str, Any]:
    """Options side by side -> options as `model` holds them; `options` loses those of models."""
    nested = {}
    for name in model.model_fields:
        held = _held(model, name)
        if held is not None:
            own = {key: options.pop(key) for key in option_fields(held) if key in options}
            nested[name] = _nest(held, own)
    return options | nested


def _held(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model that a field always holds, if it is declared as one."""
    kind = model.model_fields[name].annotation
    if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return None


def _describe(model: type[BaseModel], error: dict[str, Any]) -> str:
    location = [part for part in error["loc"] if isinstance(part, str)]
    name = cut(".".join(location))
    if error["type"] == "extra_forbidden":
        return f"unknown key '{name}': {_meant(model, location)}"
    message = cut(error["msg"].removeprefix("Value error, "), MAX_MESSAGE)
    if error["type"] == "missing":
        return f"'{name}' is missing"
    if error["type"] == "value_error":
        return f"{name}: {message}" if name else message
    return f"'{name}' is {shown(error['input'])}: {message}"


def _meant(model: type[BaseModel], location: list[str]) -> str:
    """A hint for an unknown key: the same key elsewhere, or a similar one in its place."""
    *parents, last = location
    # A right key in the wrong section is likelier than a misspelt one.
    elsewhere = list(_places(model, last))
    if elsewhere:
        return "did you mean " + " or ".join(f"'{place}'" for place in elsewhere) + "?"
    return closest(last, _keys_at(model, parents))


def _places(model: type[BaseModel], key: str, prefix: str = "") -> Iterator[str]:
    for name in model.model_fields:
        if name == key:
            yield prefix + name
        elif (nested := _nested(model, name)) is not None:
            yield from _places(nested, key, f"{prefix}{name}.")


def _describe_option(
    model: type[BaseModel], names: Mapping[str, str], error: dict[str, Any]
) -> str:
    field = ""
    for part in error["loc"]:  # the model in the model, then the field, then what is in that
        held = _held(model, str(part)) if part in model.model_fields else None
        if held is None:
            field = str(part)
            break
        model = held
    option = names.get(field, f"--{field.replace('_', '-')}")
    message: str = error["msg"].removeprefix("Value error, ")
    if error["type"] != "value_error":
        return f"{option} {error['input']}: {message.replace('Input should', 'it should')}"
    # The message of a rule on several options names them already.
    return message if not field or message.startswith("-") else f"{option}: {message}"


def _keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Field names of the nested model that `location` leads to."""
    for part in location:
        model = _nested(model, part) or model
    return list(model.model_fields)


def _nested(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model that a field holds, if any."""
    field = model.model_fields.get(name)
    if field is None:
        return None
    candidates = [field.annotation, *get_args(field.annotation)]
    nested = [
        c
        for c in candidates
        if get_origin(c) is None and isinstance(c, type) and issubclass(c, BaseModel)
    ]
    return nested[0] if nested else None


def _edits(a: str, b: str) -> int:
    """About how many characters must change to turn one name into the other."""
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in codes if kind != "equal")
