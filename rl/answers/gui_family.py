"""What can be done on a screen: one frozen dataclass for each kind of action.

Coordinates are thousandths of the picture.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rl.answers.places import GRID
from rl.types import Json

# A mark (1 number), a point (2) or a box (4); () = wherever the focus is.
At = tuple[int, ...]
Direction = Literal["up", "down", "left", "right"]
DIRECTIONS: tuple[Direction, ...] = ("up", "down", "left", "right")


@dataclass(frozen=True)
class Click:
    """`how`: "left", "right", "middle", "double", "long" or "hover"."""

    at: At
    how: str = "left"


@dataclass(frozen=True)
class Write:
    """Types text, after a click at `at` if there is one, instead of what was there if `clear`."""

    text: str
    at: At = ()
    clear: bool = False


@dataclass(frozen=True)
class Drag:
    """From one place to another."""

    start: At
    end: At


@dataclass(frozen=True)
class Scroll:
    """`direction`: in which the view moves, so a swipe "up" is a scroll "down"."""

    direction: Direction
    at: At = ()
    steps: int = 5


@dataclass(frozen=True)
class Press:
    """A key, or several with "+" between them: "enter", "ctrl+a"."""

    keys: str


@dataclass(frozen=True)
class Go:
    """`to`: "back", "home", "search", or the name of an app."""

    to: str


@dataclass(frozen=True)
class Wait:
    """Nothing for a while."""


@dataclass(frozen=True)
class Answer:
    """What was asked for, told to the user."""

    text: str


@dataclass(frozen=True)
class Finish:
    """The end: `done` as asked, or given up."""

    done: bool


Action = Click | Write | Drag | Scroll | Press | Go | Wait | Answer | Finish
_FAMILY = {
    kind.__name__: kind for kind in (Click, Write, Drag, Scroll, Press, Go, Wait, Answer, Finish)
}


def as_direction(word: str) -> Direction | None:
    """The direction that a word names, or None."""
    return next((known for known in DIRECTIONS if known == word), None)


def to_json(action: Action) -> dict[str, Json]:
    """As plain JSON, "kind" among the keys."""
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(action).items()}
    return {"kind": type(action).__name__, **values}


def from_json(value: dict[str, Json]) -> Action:
    """What `to_json` gave."""
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k != "kind"
    }
    return _FAMILY[value["kind"]](**fields)


def valid_place(at: object) -> At | None:
    """A point or box of integers 0 ... 1000 from JSON, single or doubled brackets; or None."""
    if isinstance(at, list) and len(at) == 1 and isinstance(at[0], list):
        at = at[0]
    if not isinstance(at, list) or len(at) not in (2, 4):
        return None
    numbers = [n for n in at if type(n) is int and 0 <= n <= GRID]
    if len(numbers) != len(at):
        return None
    if len(at) == 4 and (numbers[0] >= numbers[2] or numbers[1] >= numbers[3]):
        return None
    return tuple(numbers)
