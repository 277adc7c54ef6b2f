"""Validated settings: their base class, and messages that say what is wrong and what is allowed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from munit_edge.errors import ConfigError
from munit_edge.files.names import storable, stored_name
from munit_edge.files.plain_data import cut, shown

MAX_MESSAGE = 500
"""Characters of what is wrong with one value."""
MAX_EDITS = 2
"""Letters by which a misspelt name differs; names that differ more are others."""

T = TypeVar("T", bound=BaseModel)


class StrictModel(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """JSON; a text with bytes that are not UTF-8, as names of files may have, is escaped.

        See `munit_edge.files.names.stored_name`.
        """
        try:
            return super().model_dump_json(indent=indent, **options)
        except PydanticSerializationError:  # it writes no lone surrogates
            data = _storable(self.model_dump(mode="json", **options))
            return json.dumps(data, indent=indent, ensure_ascii=False)


def _storable(data: Any) -> Any:
    """Plain data with every text as `stored_name` has it, where it is not UTF-8."""
    if isinstance(data, str):
        return data if storable(data) == data else stored_name(data)
    if isinstance(data, dict):
        return {key: _storable(value) for key, value in data.items()}
    return [_storable(item) for item in data] if isinstance(data, list) else data


def closest(name: str, allowed: list[str]) -> str:
    """The one of `allowed` that `name` misspells as "did you mean 'x'?", or the whole list."""
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.7)
    if near and _edits(name, near[0]) <= (MAX_EDITS if len(name) > MAX_EDITS**2 else 1):
        return f"did you mean '{near[0]}'?"
    return "allowed: " + ", ".join(sorted(allowed))


def has_key(model: type[BaseModel], key: str) -> bool:
    """Whether a dotted key ("model.width") leads to a field of `model`, or of one inside it."""
    *parents, last = key.split(".")
    for part in parents:
        nested = _nested(model, part)
        if nested is None:
            return False
        model = nested
    return last in model.model_fields


def validate(model: type[T], data: Any, source: str) -> T:
    """Build `model` from plain data; every fault goes into one message.

    Args:
        model: the configuration class.
        data: mappings, lists and scalars, as YAML or JSON gives them.
        source: what the message calls the data, such as the file's path.

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


def validate_options(
    model: type[T], wishes: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> T:
    """`validate` for the options of a command: messages call them as the user does.

    Args:
        model: what they are checked by.
        wishes: the options by field.
        names: what the user calls the fields that are not called like their options, such as
            {"timeout_s": "--timeout"}.

    Raises:
        ConfigError: an option cannot be used, or two do not go together.
    """
    try:
        return model.model_validate(wishes)
    except ValidationError as exc:
        faults = [
            _describe_option(names or {}, dict(error)) for error in exc.errors(include_url=False)
        ]
        raise ConfigError("; ".join(dict.fromkeys(faults))) from exc


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
    """Which key an unknown one may stand for: the same somewhere else, or one of its place."""
    *parents, last = location
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


def _describe_option(names: Mapping[str, str], error: dict[str, Any]) -> str:
    field = next((str(part) for part in error["loc"]), "")
    option = names.get(field, f"--{field.replace('_', '-')}")
    message: str = error["msg"].removeprefix("Value error, ")
    if error["type"] != "value_error":
        return f"{option} {error['input']}: {message.replace('Input should', 'it should')}"
    # What a rule says of several options, or of its own, names them already.
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
    nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return nested[0] if nested else None


def _edits(a: str, b: str) -> int:
    """How many letters are to change, about, to make one of the other."""
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in codes if kind != "equal")
