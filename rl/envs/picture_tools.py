"""Compute what pictures say that may be turned, with tools that turn pictures and calculate."""

from collections.abc import Mapping

import numpy as np

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, mix, new_sheet, pick, text_width
from mmtp.data.records import Image, Part, Text
from mmtp.data.tasks import scenes
from rl.answers.calls import Call, write_call
from rl.answers.numbers import parse_number
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, Step
from rl.envs.parts import tool_turns
from rl.envs.parts.arithmetic import calculate
from rl.envs.parts.tool_schemas import CALCULATE, ROTATE
from rl.types import Json, Rollout, Task

ASKS = {
    "en": (
        "Compute what the picture says ({handles}; it may be turned: the thick line belongs "
        "below). Answer with the number alone.",
        "Put the numbers of the other pictures in for the letters and compute the expression "
        "({handles}; some may be turned: the thick line belongs below). Answer with the number "
        "alone.",
    ),
    "zh": (
        "计算图片所写的式子（{handles}，可能被旋转过：粗线应在下方）。只回答这个数。",
        "把其他图片中的数代入式子里的字母并计算（{handles}，有的可能被旋转过：粗线应在下方）。"
        "只回答这个数。",
    ),
}
MAX_PICTURES = 12


def draw(context: Draw) -> Drawn:
    """An expression, from difficulty 3 on with letters whose values other pictures give."""
    rng, difficulty, language = context
    a, b, c, d = (int(n) for n in rng.integers(12, 100, 4))
    shape = {0: "{a} + {b}", 1: "{a} - {b} + {c}", 2: "{a} × {b}"}.get(difficulty, "")
    shape = shape or pick(rng, ("({a} + {b}) × {c}", "{a} × {b} - {c}"))
    numbers = {"a": a, "b": b, "c": c, "d": d}
    letters = {"a": "x", "c": "y"} if difficulty == 4 else {"a": "x"} if difficulty == 3 else {}
    lines = [shape.format(**{**numbers, **letters})]
    lines += [f"{letter} = {numbers[key]}" for key, letter in letters.items()]
    turns = [int(rng.integers(0, 4)) if difficulty else 0 for _ in lines]
    colours = [pick(rng, ("blue", "red", "green", "black", "purple")) for _ in lines]
    pictures = [list(each) for each in zip(lines, colours, turns, strict=True)]
    handles = ", ".join(_handle(i) for i in range(len(lines)))
    question = ASKS[language][bool(letters)].format(handles=handles)
    answer = calculate(shape.format(**numbers))
    reference = {"answer": answer, "expression": shape.format(**numbers)}
    parts = (*(Image(_picture(picture)) for picture in pictures), Text(question))
    return Drawn(parts, reference, {"pictures": pictures}, (ROTATE, CALCULATE))


def step(task: Task, state: Mapping[str, Json], reply: str) -> Step:
    """Turns and calculates until an answer is given."""
    return tool_turns.turn(state, reply, task.tools, _use)


def score(task: Task, rollout: Rollout) -> float:
    """1 where the answer is the number, else 0."""
    number = parse_number(tool_turns.final_answer(rollout) or "")
    return float(number is not None and number == parse_number(task.reference["answer"]))


def oracle(task: Task) -> Replies:
    """Turns what is not upright, calculates, answers."""
    turned = [
        write_call("rotate_image", {"image": _handle(i), "degrees": 90 * turns})
        for i, (_, _, turns) in enumerate(task.state["pictures"])
        if turns
    ]
    expression = task.reference["expression"]
    sums = write_call("calculate", {"expression": expression})
    return (*turned, sums, boxed(task.reference["answer"]))


def distractors(task: Task) -> list[Replies]:
    """One off, the sign turned, the expression itself, a call beside the answer, no answer."""
    gold = int(task.reference["answer"])
    sums = write_call("calculate", {"expression": task.reference["expression"]})
    wrong = [gold + 1, gold - 1, gold + 10, -gold - 1, f"{gold} or {gold + 1}", f"={gold}", ""]
    wrong += [task.reference["expression"], f"{gold}²", f"{gold}e0"]
    return [*((boxed(w),) for w in wrong), (sums + boxed(gold),), (sums,) * task.max_turns]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A number."""
    return (boxed(int(rng.integers(20, 200))),)


def _use(state: Mapping[str, Json], call: Call) -> tuple[Mapping[str, Json], tuple[Part, ...]]:
    if call.name == "calculate":
        return state, (Text(calculate(call.arguments["expression"])),)
    pictures = state["pictures"]
    number = {_handle(i): i for i in range(len(pictures))}.get(call.arguments["image"])
    if number is None:
        raise ValueError("there is no such picture")
    if len(pictures) >= MAX_PICTURES:
        raise ValueError("there are too many pictures")
    line, colour, turns = pictures[number]
    picture = [line, colour, (turns - call.arguments["degrees"] // 90) % 4]
    handle = Text(f"{_handle(len(pictures))}:")
    return {"pictures": [*pictures, picture]}, (handle, Image(_picture(picture)))


def _handle(number: int) -> str:
    return f"mm://img_{number}"


def _picture(picture: list[Json]) -> np.ndarray:
    """A line, turned counter-clockwise by so many quarters."""
    line, colour, turns = picture
    ink = scenes.PALETTE[colour][1]
    width = -int(-(text_width(line, 24) + 20) // 28) * 28
    sheet = new_sheet((width, 56), mix(WHITE, ink, 0.06))
    sheet.box((3, 3, width - 4, 52), None, mix(ink, WHITE, 0.5), 6)
    sheet.box((12, 43, width - 12, 46), mix(ink, WHITE, 0.3))
    sheet.text((width / 2, 25), line, 24, mix(ink, BLACK, 0.3), "mm")
    return np.rot90(sheet.pixels(), turns).copy()


CATEGORY = Category(
    name="picture_tools",
    group="tools",
    level="trajectory",
    benchmark="tool use with pictures (rotate, calculate)",
    scale="operations, turned pictures, and letters whose values stand elsewhere",
    draw=draw,
    score=score,
    oracle=oracle,
    distractors=distractors,
    guess=guess,
    step=step,
    max_turns=8,
)
