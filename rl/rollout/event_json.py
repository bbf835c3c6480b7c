"""Events as JSON and back, exactly."""

import dataclasses
import typing
from typing import Any

from rl.rollout.events import Event, Json, Lost
from rl.rollout.tokens import Tokens

KINDS: dict[str, type] = {cls.__name__: cls for cls in typing.get_args(Event)}
FREE = {"settings", "pick", "result", "details"}  # fields that are JSON as they are
NAMES = {cls: [f.name for f in dataclasses.fields(cls)] for cls in (*KINDS.values(), Lost)}


def to_json(event: Event) -> dict[str, Json]:
    """A dict with the name of its class under "event", and its fields."""
    return {"event": type(event).__name__, **_plain(event)}


def from_json(value: dict[str, Json]) -> Event:
    """The inverse of `to_json`.

    Raises:
        ValueError: an unknown kind, or other fields than it has.
    """
    cls = KINDS.get(value.get("event", ""))
    if cls is None or set(NAMES[cls]) != value.keys() - {"event"}:
        raise ValueError(f"no event: {sorted(value)} of the kind {value.get('event')!r}")
    return _built(cls, value)


def _plain(event: Any) -> dict[str, Json]:
    return {name: _field(getattr(event, name)) for name in NAMES[type(event)]}


def _field(value: Any) -> Json:
    if isinstance(value, Tokens):
        return value.to_json()
    if isinstance(value, Lost):
        return _plain(value)
    return [_field(item) for item in value] if isinstance(value, tuple) else value


def _built(cls: type, value: dict[str, Json]) -> Any:
    return cls(**{name: _read(name, value[name]) for name in NAMES[cls]})


def _read(name: str, value: Json) -> Any:
    if name in FREE:
        return value
    if name == "tokens":
        return Tokens.from_json(value)
    if name == "lost":
        return tuple(_built(Lost, item) for item in value)
    return _tuples(value)


def _tuples(value: Json) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
