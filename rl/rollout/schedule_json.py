"""The schedule's state as JSON and back.

The sorted lists of `State` follow from its groups: they are rebuilt when it is read, so that they
cannot disagree with them after a restart.
"""

import dataclasses
from collections import Counter
from typing import Any

from rl.rollout.events import Json
from rl.rollout.schedule_state import (
    Batch,
    Group,
    Sample,
    ScheduleError,
    State,
    Wave,
    insert,
    lists,
)
from rl.rollout.tokens import Tokens

FORMAT = 1
PLAIN = (
    *("time", "version", "published", "publishing", "serving", "formed", "admitting"),
    *("num_admitted", "equal_drops"),
)
SAVED = (
    *(*PLAIN, "groups", "batches", "wave", "counts", "dropped", "staleness", "token_age"),
    *("waits", "seconds", "audit"),
)


def to_json(state: State) -> dict[str, Json]:
    """All of it, JSON-able; equal states give equal values."""
    return {"format": FORMAT} | {name: _json(getattr(state, name)) for name in SAVED}


def from_json(value: dict[str, Json]) -> State:
    """The inverse of `to_json`.

    Raises:
        ScheduleError: another version of this program wrote it.
    """
    if value.get("format") != FORMAT or set(SAVED) != value.keys() - {"format"}:
        raise ScheduleError(f"a schedule of format {value.get('format')}, not {FORMAT}")
    plain = {name: value[name] for name in PLAIN}
    state = State(**plain, wave=Wave(**value["wave"]))
    state.groups = {item["id"]: _group(item) for item in value["groups"]}
    state.batches = [
        Batch(item["step"], tuple(item["groups"]), tuple(item["reused"]))
        for item in value["batches"]
    ]
    state.counts, state.dropped = Counter(value["counts"]), Counter(value["dropped"])
    state.staleness, state.token_age = (
        Counter({int(key): num for key, num in value[name].items()})
        for name in ("staleness", "token_age")
    )
    state.waits = {name: list(numbers) for name, numbers in value["waits"].items()}
    state.seconds = dict(value["seconds"])
    state.audit = {
        source: {kind: Counter({int(k): n for k, n in hist.items()}) for kind, hist in of.items()}
        for source, of in value["audit"].items()
    }
    index(state)
    return state


def _json(value: Any) -> Json:
    if isinstance(value, Tokens):
        return value.to_json()
    if isinstance(value, dict) and value and isinstance(next(iter(value.values())), Group):
        return [_json(value[group]) for group in sorted(value)]
    if isinstance(value, Counter):
        return {str(key): value[key] for key in sorted(value) if value[key]}
    if isinstance(value, dict):
        return {key: _json(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {f.name: _json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _group(value: dict[str, Json]) -> Group:
    return Group(**{**value, "samples": [_sample(item) for item in value["samples"]]})


def _sample(value: dict[str, Json]) -> Sample:
    known = {
        "id": (value["id"][0], value["id"][1]),
        "turns": [Tokens.from_json(item) for item in value["turns"]],
        "partial": Tokens.from_json(value["partial"]),
    }
    return Sample(**{**value, **known})


def index(state: State) -> None:
    """Fills the sorted lists of a state that has none."""
    of_groups = {"ready": state.ready, "dropping": state.dropping, "spent": state.spent}
    for group in state.groups.values():
        if group.status in of_groups:
            insert(of_groups[group.status], group.id)
        if group.status in ("open", "ready", "dropping"):
            insert(state.others, group.id)
        for sample in group.samples:
            items = lists(state, sample.status)
            if items is not None:
                insert(items, sample.key if sample.status == "waiting" else sample.id)
