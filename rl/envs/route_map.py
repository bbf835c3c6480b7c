"""Follow a route on a map of streets, and say where it ends."""

from dataclasses import dataclass

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, mix, new_sheet, pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks.example import Pixels
from mmtp.data.tasks.scenes import COLOURS
from rl.envs.category import Category, Draw, Drawn, by_answer
from rl.envs.drawing.draw_items import KINDS, Item, draw_on
from rl.envs.parts import choices
from rl.rewards.rules import choice

STREETS = (3, 4, 5, 6, 7)  # each way
LEGS = (1, 2, 3, 4, 6)
CELL = 56  # pixels between two streets
START = {
    "en": "You are at the black arrow and look where it points. ",
    "zh": "你在黑色箭头处，面朝箭头所指的方向。",
}
GO = {"en": ("go straight on for {} crossing", "s"), "zh": ("直走{}个路口", "")}
TURN = {"en": {1: "turn right", -1: "turn left"}, "zh": {1: "右转", -1: "左转"}}
END = {"en": " Which shape do you end at?", "zh": "最后你到达哪个图形？"}
PARK, HOUSES = (206, 228, 198), (228, 222, 212)
_HEADINGS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # up, right, down, left on the map

Node = tuple[int, int]


@dataclass(frozen=True)
class Route:
    """A way through the streets.

    Attributes:
        start: column and row of the crossing where it starts.
        heading: 0 up, 1 right, 2 down, 3 left.
        turns: before each leg but the first: 1 right, -1 left.
        legs: crossings to go.
    """

    start: Node
    heading: int
    turns: tuple[int, ...]
    legs: tuple[int, ...]

    def nodes(self) -> list[Node]:
        """Every crossing on the way, with both ends."""
        (x, y), heading, found = self.start, self.heading, [self.start]
        for turn, leg in zip((0, *self.turns), self.legs, strict=True):
            heading = (heading + turn) % 4
            for _ in range(leg):
                x, y = x + _HEADINGS[heading][0], y + _HEADINGS[heading][1]
                found.append((x, y))
        return found


def draw_task(context: Draw) -> Drawn:
    """A map with shapes at crossings, and a route that ends at one of them."""
    rng, difficulty, language = context
    streets = STREETS[difficulty]
    route = _route(rng, streets, LEGS[difficulty])
    end = route.nodes()[-1]
    wrong = [n for n in _near_misses(route, streets) if n not in (end, route.start)]
    free = [(x, y) for x in range(streets) for y in range(streets)]
    free = [n for n in free if n not in (end, route.start, *wrong)]
    missing = max(0, 3 - len(wrong))
    wrong = [*pick_some(rng, wrong, min(3, len(wrong))), *pick_some(rng, free, missing)]
    colours = pick_some(rng, [c for c in COLOURS if c != "black"], 4)
    kinds = pick_some(rng, [k for k in KINDS if k != "arrow"], 4)
    marks = [
        Item(kind, colour, _pixel(node), 12)
        for kind, colour, node in zip(kinds, colours, [end, *wrong], strict=True)
    ]
    names = [mark.name(language) for mark in marks]
    options, reference = choices.shuffled(rng, names[0], names[1:])
    reference |= {
        "start": list(route.start),
        "heading": route.heading,
        "turns": list(route.turns),
        "legs": list(route.legs),
        "places": {name: list(n) for name, n in zip(names, [end, *wrong], strict=True)},
    }
    question = START[language] + _said(route, language) + END[language]
    text = choices.asked(question, options, language)
    picture = _map(rng, streets, marks, route)
    return Drawn((Image(picture), Text(text)), reference)


def _route(rng: np.random.Generator, streets: int, legs: int) -> Route:
    """A route that stays on the map and crosses no place twice."""
    while True:
        x, y, heading = (int(v) for v in rng.integers(0, (streets, streets, 4)))
        turns = tuple(int(v) for v in rng.choice((-1, 1), legs - 1))
        lengths = tuple(int(v) for v in rng.integers(1, max(2, streets - 2) + 1, legs))
        route = Route((x, y), heading, turns, lengths)
        nodes = route.nodes()
        if all(_on_map(n, streets) for n in nodes) and len(set(nodes)) == len(nodes):
            return route


def _near_misses(route: Route, streets: int) -> list[Node]:
    """Where one ends who turns the wrong way once or always, or goes one crossing too many."""
    start, heading, turns, legs = route.start, route.heading, route.turns, route.legs
    others = [Route(start, heading, tuple(-t for t in turns), legs)]
    others.append(Route(start, (heading + 2) % 4, turns, legs))
    for i in range(len(turns)):
        flipped = *turns[:i], -turns[i], *turns[i + 1 :]
        others.append(Route(start, heading, flipped, legs))
    for i, leg in enumerate(legs):
        for more in (-1, 1):
            if leg + more > 0:
                changed = *legs[:i], leg + more, *legs[i + 1 :]
                others.append(Route(start, heading, turns, changed))
    ends = [other.nodes()[-1] for other in others]
    return [n for i, n in enumerate(ends) if _on_map(n, streets) and n not in ends[:i]]


def _map(rng: np.random.Generator, streets: int, marks: list[Item], route: Route) -> Pixels:
    side = CELL * streets
    sheet = new_sheet((side, side), WHITE, 2)
    for column in range(-1, streets):
        for row in range(-1, streets):
            x, y = _pixel((column, row))
            corners = (x + 8, y + 8, x + CELL - 8, y + CELL - 8)
            sheet.box(corners, mix(pick(rng, (PARK, HOUSES, HOUSES)), BLACK, 0.04), radius=5)
    for mark in marks:
        sheet.disc(mark.middle, 16, WHITE, (150, 150, 150))
    draw_on(sheet, marks, (205, 205, 205))
    arrow = Item("arrow", "black", _pixel(route.start), 16, route.heading * np.pi / 2)
    draw_on(sheet, [arrow], (205, 205, 205))
    return sheet.pixels()


def _said(route: Route, language: str) -> str:
    straight, plural = GO[language]
    steps = []
    for turn, leg in zip((0, *route.turns), route.legs, strict=True):
        if turn:
            steps.append(TURN[language][turn])
        steps.append(straight.format(leg) + (plural if leg > 1 else ""))
    if language == "zh":
        return "，".join(steps) + "。"
    text = ", ".join(steps)
    return text[0].upper() + text[1:] + "."


def _pixel(node: Node) -> tuple[float, float]:
    return CELL * (node[0] + 0.5), CELL * (node[1] + 0.5)


def _on_map(node: Node, streets: int) -> bool:
    return 0 <= node[0] < streets and 0 <= node[1] < streets


CATEGORY = Category(
    name="route_map",
    group="spatial",
    level="step",
    benchmark="VSI-Bench",
    scale="streets each way 3 … 7; stretches of the route 1 … 6",
    draw=draw_task,
    score=by_answer(choice.choice),
    oracle=choices.oracle,
    distractors=choices.distractors,
    guess=choices.guess,
)
