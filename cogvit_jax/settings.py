"""Config sections -> frozen dataclasses, so that a typo or a wrong type fails at start."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigError(ValueError):
    """A config field that is unknown, missing or out of range; names field, value and remedy."""


def read(cls: type[T], section: Mapping[str, Any], path: str, **computed: Any) -> T:
    """Builds dataclass `cls` from a config section.

    Args:
        cls: a dataclass; its field names and types are the section's schema.
        section: mapping such as an `ml_collections.ConfigDict`.
        path: the section's name in error messages, such as `config.optim`.
        **computed: fields that code, not the config, provides.

    Raises:
        ConfigError: an unknown field (names the nearest), a missing field or a wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values = dict(computed)
    for name, value in dict(section).items():
        if name not in fields:
            raise ConfigError(unknown(f"{path}.{name}", name, fields))
        values[name] = _coerce(value, hints[name], f"{path}.{name}")
    required = {
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - values.keys())
    if missing:
        raise ConfigError(f"{path} lacks {', '.join(missing)}: add it to the config file.")
    return cls(**values)


def unknown(what: str, name: str, choices: Iterable[str]) -> str:
    """Error text for a name that is not among `choices`, with the nearest one."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, 1, 0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{what} is not known. {hint}Choices: {', '.join(choices)}."


def choose(choices: Mapping[str, T], name: str, path: str) -> T:
    """`choices[name]`, or a ConfigError naming the field and the nearest choice."""
    if name not in choices:
        raise ConfigError(unknown(f"{path} = {name!r}", name, choices))
    return choices[name]


def _coerce(value: Any, hint: Any, path: str) -> Any:
    """`value` as type `hint`; only lossless changes (int -> float, list -> tuple)."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _coerce(value, next(a for a in args if a is not types.NoneType), path)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if origin is tuple or hint is tuple:
        if not isinstance(value, tuple | list):
            raise ConfigError(f"{path} = {value!r} must be a tuple.")
        items = args[:1] * len(value) if args[1:] == (Ellipsis,) else args or (Any,) * len(value)
        if len(items) != len(value):
            raise ConfigError(f"{path} = {value!r} must hold {len(items)} values.")
        return tuple(_coerce(v, item, path) for v, item in zip(value, items, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kind = origin or hint
    wrong_bool = isinstance(value, bool) and kind is not bool
    if isinstance(kind, type) and (wrong_bool or not isinstance(value, kind)):
        raise ConfigError(
            f"{path} = {value!r} is a {type(value).__name__}, but must be a {kind.__name__}."
        )
    return value
