"""What an assistant can be asked to do with tools: a tool, a note that says the details, decoys."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from rl.envs.parts.tool_schemas import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    STRING,
    Schema,
    listed,
    one_of,
    tool,
)
from rl.types import Json

Rng = np.random.Generator
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
TIME: Schema = {"type": "string", "description": "HH:MM, 24 hours."}
DATE: Schema = {"type": "string", "description": "YYYY-MM-DD."}
PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Gina", "Hugo")
PARTS = ("bolt", "nut", "washer", "screw", "spring", "gear")


class Chore(NamedTuple):
    """Something to do.

    Attributes:
        title: the note's head, which the tool's description also says.
        schema: of the tool that does it.
        decoy: of a tool that looks alike and does something else.
        details: the arguments, by name; they stand on the note under the same names.
    """

    title: str
    schema: Mapping[str, Json]
    decoy: Mapping[str, Json]
    details: Callable[[Rng], dict[str, Json]]


def _time(rng: Rng) -> str:
    return f"{int(rng.integers(7, 23)):02d}:{int(rng.integers(0, 12)) * 5:02d}"


def _date(rng: Rng) -> str:
    return f"2026-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}"


def _days(rng: Rng) -> list[str]:
    chosen = rng.permutation(7)[: rng.integers(1, 4)]
    return [DAYS[i] for i in sorted(chosen.tolist())]


def _items(rng: Rng) -> list[dict[str, Json]]:
    chosen = rng.permutation(len(PARTS))[: rng.integers(1, 4)].tolist()
    return [{"part": PARTS[i], "count": int(rng.integers(2, 40))} for i in chosen]


ITEM: Schema = {
    "type": "object",
    "properties": {"part": STRING, "count": INTEGER},
    "required": ["part", "count"],
    "additionalProperties": False,
}

CHORES = (
    Chore(
        "Book a table",
        tool("book_table", "Books a table.", {"name": STRING, "people": INTEGER, "time": TIME}),
        tool("cancel_table", "Cancels a table.", {"name": STRING, "time": TIME}),
        lambda rng: {
            "name": pick(rng, PEOPLE),
            "people": int(rng.integers(2, 13)),
            "time": _time(rng),
        },
    ),
    Chore(
        "Set an alarm",
        tool(
            "set_alarm",
            "Sets an alarm on days of the week.",
            {"time": TIME, "days": listed(one_of(*DAYS)), "loud": BOOLEAN},
        ),
        tool("set_timer", "Starts a timer.", {"minutes": INTEGER}),
        lambda rng: {"time": _time(rng), "days": _days(rng), "loud": bool(rng.random() < 0.5)},
    ),
    Chore(
        "Add an event",
        tool(
            "add_event",
            "Adds an event to the calendar.",
            {"title": STRING, "date": DATE, "start": TIME, "minutes": INTEGER},
        ),
        tool("move_event", "Moves an event to a date.", {"title": STRING, "date": DATE}),
        lambda rng: {
            "title": pick(rng, ("Dentist", "Team lunch", "Piano lesson", "Call with Anna")),
            "date": _date(rng),
            "start": _time(rng),
            "minutes": int(rng.integers(2, 13)) * 10,
        },
    ),
    Chore(
        "Convert money",
        tool(
            "convert_money",
            "Converts an amount of money.",
            {
                "amount": NUMBER,
                "source": one_of("EUR", "USD", "CNY", "JPY"),
                "target": one_of("EUR", "USD", "CNY", "JPY"),
            },
        ),
        tool("send_money", "Sends money to someone.", {"amount": NUMBER, "to": STRING}),
        lambda rng: {
            "amount": int(rng.integers(100, 100_000)) / 100,
            **dict(
                zip(
                    ("source", "target"),
                    np.array(["EUR", "USD", "CNY", "JPY"])[rng.permutation(4)[:2]].tolist(),
                    strict=True,
                )
            ),
        },
    ),
    Chore(
        "Order parts",
        tool("order_parts", "Orders parts.", {"items": listed(ITEM), "express": BOOLEAN}),
        tool("return_parts", "Sends parts back.", {"items": listed(ITEM)}),
        lambda rng: {"items": _items(rng), "express": bool(rng.random() < 0.5)},
    ),
    Chore(
        "Send a message",
        tool("send_message", "Sends a text message.", {"to": STRING, "text": STRING}),
        tool("call_person", "Calls someone.", {"to": STRING}),
        lambda rng: {
            "to": pick(rng, PEOPLE),
            "text": pick(rng, ("See you at 5", "The train is late", "Happy birthday!", "Call me")),
        },
    ),
    Chore(
        "Save a contact",
        tool("save_contact", "Saves a contact.", {"name": STRING, "phone": STRING}),
        tool("delete_contact", "Deletes a contact.", {"name": STRING}),
        lambda rng: {"name": pick(rng, PEOPLE), "phone": f"0{int(rng.integers(10**7, 10**8))}"},
    ),
    Chore(
        "Set the heating",
        tool(
            "set_heating",
            "Sets the temperature of a room.",
            {"room": one_of("kitchen", "bedroom", "office"), "degrees": NUMBER},
        ),
        tool("read_heating", "Tells the temperature of a room.", {"room": STRING}),
        lambda rng: {
            "room": pick(rng, ("kitchen", "bedroom", "office")),
            "degrees": int(rng.integers(32, 50)) / 2,
        },
    ),
)


def shown(value: Json) -> str:
    """A detail as the note says it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(
            f"{one['count']} x {one['part']}" if isinstance(one, dict) else one for one in value
        )
    return str(value)
