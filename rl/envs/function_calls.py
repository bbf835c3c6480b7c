"""Call the tools that do what notes in a picture say, with the arguments that stand there."""

import numpy as np

from cogvit_jax.data.rendering.canvas import (
    BLACK,
    COLOURS,
    WHITE,
    mix,
    new_sheet,
    pick,
    pick_some,
    text_width,
)
from mmtp.data.records import Image, Text
from rl.answers.calls import Call, write_calls
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies
from rl.envs.parts.chores import CHORES, shown
from rl.rewards.rules.tool_calls import NONE, tool_calls
from rl.types import Json, Rollout, Task

ASKS = {
    "en": "Do what the picture says: call the tools that fit, with exactly what stands there (yes "
    "= true, no = false), once for each note, all in this reply. If no tool does it, answer none.",
    "zh": "按图片里的便条行事：调用合适的工具，参数与图中完全一致（yes为true，no为false），"
    "每张便条一次，全部写在这一条回复里。如果没有合适的工具，回答none。",
}
ROW = 20


def draw(context: Draw) -> Drawn:
    """1 … 3 notes; 1 … 7 tools, among them ones that look alike; at times none that fits."""
    rng, difficulty, language = context
    count = (1, 1, 1, 2, 3)[difficulty]
    chosen = pick_some(rng, range(len(CHORES)), count)
    if difficulty == 4 and rng.random() < 0.4:
        chosen[1] = chosen[0]  # the same tool twice
    notes = [(CHORES[i].title, CHORES[i].details(rng)) for i in chosen]
    none = difficulty >= 2 and rng.random() < 0.15
    tools = [] if none else [CHORES[i].schema for i in sorted(set(chosen))]
    tools += [CHORES[i].decoy for i in sorted(set(chosen))] if difficulty else []
    rest = [i for i in range(len(CHORES)) if i not in chosen]
    tools += [CHORES[i].schema for i in pick_some(rng, rest, min(difficulty, 3))]
    tools = [tools[i] for i in rng.permutation(len(tools))]
    expected = [
        {"name": CHORES[i].schema["function"]["name"], "arguments": {k: [v] for k, v in d.items()}}
        for i, (_, d) in zip(chosen, notes, strict=True)
    ]
    reference = {"expected": [] if none else expected, "tempting": expected}
    return Drawn((Image(_picture(rng, notes)), Text(ASKS[language])), reference, tools=tuple(tools))


def score(task: Task, rollout: Rollout) -> float:
    """1 where exactly the expected calls are made."""
    return tool_calls(rollout.reply, task.tools, task.reference["expected"])


def oracle(task: Task) -> Replies:
    """The calls, in reverse order: order is free."""
    calls = _calls(task.reference["expected"])
    return (write_calls(calls[::-1], lines=bool(task.seed % 2)) if calls else boxed(NONE),)


def distractors(task: Task) -> list[Replies]:
    """An argument changed, left out, or added; a call twice, missing, in words, in a box."""
    calls = _calls(task.reference["tempting"])
    (name, arguments), rest = calls[0], calls[1:]
    key = next(iter(arguments))
    decoys = [tool["function"]["name"] for tool in task.tools]
    other = next((decoy for decoy in decoys if decoy not in {c.name for c in calls}), "unknown")
    near = (
        Call(name, {**arguments, key: _changed(arguments[key])}),
        Call(name, {k: v for k, v in arguments.items() if k != key}),
        Call(name, {**arguments, "extra": "1"}),
        Call(other, arguments),
        Call(name.upper(), arguments),
    )
    right = write_calls(calls)
    replies = [write_calls([call, *rest]) for call in near]
    replies += [write_calls([*calls, calls[0]]), right + " Done.", boxed(right), f"<think>{right}"]
    replies += [right.replace("<tool_call>", ""), f"{name}({arguments})", boxed("done"), ""]
    replies.append(right if not task.reference["expected"] else boxed(NONE))
    replies.append(write_calls(rest) if rest else "<tool_call>" + name)
    return [(reply,) for reply in replies]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """None, or the first tool with made-up arguments."""
    if rng.random() < 0.3:
        return (boxed(NONE),)
    name = pick(rng, [tool["function"]["name"] for tool in task.tools])
    return (write_calls([Call(name, {"name": "Anna", "time": "12:00"})]),)


def _calls(expected: list[dict[str, Json]]) -> list[Call]:
    return [Call(e["name"], {k: v[0] for k, v in e["arguments"].items()}) for e in expected]


def _changed(value: Json) -> Json:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1] != "0" else "5")
    return value[:-1] if isinstance(value, list) else value + 1


def _picture(rng: np.random.Generator, notes: list[tuple[str, dict[str, Json]]]) -> np.ndarray:
    """Notes one below the other."""
    rows = [[f"{key}: {shown(value)}" for key, value in details.items()] for _, details in notes]
    widest = max(text_width(line, 15) for lines in rows for line in lines)
    width = max(168, -int(-(widest + 44) // 28) * 28)
    heights = [ROW * len(lines) + 40 for lines in rows]
    height = -(-(sum(heights) + 12) // 28) * 28
    sheet = new_sheet((width, height), mix(BLACK, WHITE, 0.9))
    top = 8.0
    for (title, _), lines, room in zip(notes, rows, heights, strict=True):
        colour = pick(rng, COLOURS[:6])[2]
        sheet.box((8, top, width - 8, top + room - 8), mix(colour, WHITE, 0.88), colour, 5)
        sheet.text((16, top + 5), title, 16, mix(colour, BLACK, 0.3))
        for i, line in enumerate(lines):
            sheet.text((16, top + 28 + ROW * i), line, 15, BLACK)
        top += room
    return sheet.pixels()


CATEGORY = Category(
    name="function_calls",
    group="tools",
    level="step",
    benchmark="BFCL, with arguments in a picture",
    scale="notes: 1 … 3; tools: 1 … 9, from difficulty 1 on with ones that look alike",
    draw=draw,
    score=score,
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
