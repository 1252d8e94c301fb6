"""Configuration: one frozen dataclass `Config` per component, its documented fields and typed overrides.

A field is declared with `option`, which carries its documentation, the section of the paper that fixes it and its
allowed range. `override` parses `KEY=VALUE` texts by the field's annotation; an unknown key or a value out of range
is an error that lists what there is. `to_dict` and `from_dict` are exact inverses, and records hold the whole
dictionary, defaults included.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union

from .errors import SerbenchError, unknown
from .files import digest

T = TypeVar("T")
_PARTS = ("model", "extractor", "reader", "config")
"""Modules of a room whose classes are called by the room's name."""
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_READABLE = {"NoneType": "none", "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}


def option(
    default: Any,
    doc: str,
    *,
    source: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    later: bool = False,
) -> Any:
    """Declare a field of a `Config`.

    Parameters
    ----------
    default : the value that the paper gives, or the documented free choice
    doc : one line, with the unit
    source : section or equation of the paper, or "free choice" where the paper is silent
    low, high : inclusive bounds of a number (of each element of a tuple)
    choices : the allowed values
    later : whether records were made before there was this field: it stands in `to_dict` only where it differs from its
        default, so that what names those records stays the same
    """
    metadata = {"doc": doc, "source": source, "low": low, "high": high, "choices": choices, "later": later}
    return dataclasses.field(default=default, metadata=metadata)


def to_dict(config: Any) -> dict[str, Any]:
    """All fields of a config as JSON-able data (tuples become lists, nested configs become dictionaries)."""
    held = [(f, getattr(config, f.name)) for f in dataclasses.fields(config)]
    return {f.name: _plain(value) for f, value in held if not (f.metadata.get("later") and value == f.default)}


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build a config from `to_dict`'s output; missing fields take their defaults, unknown ones are an error."""
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise unknown(f"setting of {_owner(cls)}", key, names)
    config = cls(**{key: _coerce(key, value, hints[key]) for key, value in values.items()})
    return validate(config)


def override(config: T, settings: Mapping[str, str], prefix: str = "") -> T:
    """Return a copy of `config` with `settings` (texts, as typed on the command line) parsed and applied."""
    hints = typing.get_type_hints(type(config))
    fields = {f.name for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for key, text in settings.items():
        if key not in fields:
            raise unknown("setting", f"{prefix}{key}", [f"{prefix}{name}" for name in fields])
        changes[key] = _parse(f"{prefix}{key}", text, hints[key])
    return validate(dataclasses.replace(config, **changes), prefix)  # type: ignore[type-var]


def validate(config: T, prefix: str = "") -> T:
    """Check every field against its declared range and choices; return the config unchanged."""
    for f in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, f.name)
        name = f"{prefix}{f.name}"
        choices = f.metadata.get("choices")
        if choices is not None and value not in choices:
            allowed = ", ".join(map(str, choices))
            raise SerbenchError(f"{name}={value!r} is not allowed. Expected one of: {allowed}.")
        for number in value if isinstance(value, tuple) else (value,):
            _check_range(name, number, f.metadata.get("low"), f.metadata.get("high"))
    return config


def config_digest(config: Any) -> str:
    """Sixteen hexadecimal digits that identify a config's full contents."""
    return digest(to_dict(config))


def describe(cls: type[Any]) -> list[dict[str, Any]]:
    """One row per field: name, type, default, doc, source, range. For `serbench list` and the docs."""
    hints = typing.get_type_hints(cls)
    return [
        {"name": f.name, "type": _type_name(hints[f.name]), "default": _plain(f.default), **f.metadata}
        for f in dataclasses.fields(cls)
    ]


def _owner(cls: type[Any]) -> str:
    room, module = ["", *cls.__module__.split(".")][-2:]
    return f"{room if module in _PARTS else module}.{cls.__name__}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value


def _check_range(name: str, value: Any, low: float | None, high: float | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        bounds = f"{low} or more" if high is None else f"{high} or less" if low is None else f"{low} to {high}"
        raise SerbenchError(f"{name}={value} is out of range. Expected {bounds}.")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _coerce(name: str, value: Any, hint: Any) -> Any:
    """JSON data to the annotated type: lists become tuples, whole numbers become floats where floats are meant."""
    for kind in _alternatives(hint):
        if kind is type(None) and value is None:
            return None
        if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
            inner = typing.get_args(kind)[0]
            return tuple(_coerce(name, v, inner) for v in value)
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            return from_dict(typing.cast("type[Any]", kind), value)
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
    raise SerbenchError(f"{name}={value!r} has the wrong type. Expected {_type_name(hint)}.")


def _parse(name: str, text: str, hint: Any) -> Any:
    for kind in _alternatives(hint):
        try:
            return _parse_one(text, kind)
        except ValueError:
            continue
    raise SerbenchError(f"{name}={text!r} can't be read. Expected {_type_name(hint)}.")


def _parse_one(text: str, kind: Any) -> Any:
    if kind is type(None):
        if text.lower() not in ("none", "null", ""):
            raise ValueError(text)
        return None
    if kind is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ValueError(text)
        return text.lower() in _TRUE
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_parse_one(part.strip(), inner) for part in text.split(",") if part.strip())
    if kind in (int, float, str):
        return kind(text)
    raise ValueError(text)


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"{_type_name(typing.get_args(hint)[0])}, several with commas between"
    names = [getattr(k, "__name__", str(k)) for k in _alternatives(hint)]
    return " or ".join(_READABLE.get(name, name) for name in names)
