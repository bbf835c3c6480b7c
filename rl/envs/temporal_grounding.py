"""When something is seen in a clip: one stretch of time, or several."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Text
from mmtp.data.tasks import scenes
from mmtp.data.tasks.scenes import Shape
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.drawing import clips
from rl.rewards.rules import intervals
from rl.types import Json, Task

WHEN = {
    "seen": {"en": "When is the {name} seen?", "zh": "什么时候能看到{name}？"},
    "coloured": {"en": "When is the {shape} {colour}?", "zh": "{shape}什么时候是{colour}？"},
}
FORM = {
    1: {
        "en": " Each picture lasts {step} s. Answer with start and end in seconds: [start,end].",
        "zh": "每幅画面持续{step}秒。只回答起止的秒数：[开始,结束]。",
    },
    2: {
        "en": " Each picture lasts {step} s. Answer with all stretches of time in seconds alone: "
        "[[start,end],[start,end]].",
        "zh": "每幅画面持续{step}秒。只用秒数回答所有时间段：[[开始,结束],[开始,结束]]。",
    },
}
FRAMES = (8, 10, 12, 14, 16)
STEPS = ((1.0,), (1.0,), (0.5, 1.0, 2.0), (0.5, 1.0, 2.0), (0.5, 1.5, 2.0))
STRETCHES = (1, 1, 1, 2, 3)


def draw(context: Draw) -> Drawn:
    """A shape that is there, or has a colour, for some frames; from 1 on another comes and goes."""
    rng, difficulty, language = context
    count, step = FRAMES[difficulty], pick(rng, STEPS[difficulty])
    spans = _spans(rng, count, STRETCHES[difficulty])
    target, other = scenes.scatter(rng, scenes.different(rng, 2))
    if rng.random() < 0.5:
        target, other = other, target
    kind = "seen" if difficulty < 2 else pick(rng, tuple(WHEN))
    spare = pick(rng, [c for c in scenes.COLOURS if c not in (target.colour, other.colour)])
    noise = rng.random(count) < (0.0 if difficulty == 0 else 0.6)
    frames: list[list[Shape]] = []
    for i in range(count):
        shapes = [other] if noise[i] else []
        if any(start <= i < end for start, end in spans):
            shapes.append(target)
        elif kind == "coloured":
            shapes.append(replace(target, colour=spare))
        frames.append(shapes)
    stretches = [[start * step, end * step] for start, end in spans]
    key = "interval" if len(spans) == 1 else "intervals"
    reference = {key: stretches[0] if len(spans) == 1 else stretches, "end": count * step}
    words = {
        "name": target.name(language),
        "shape": scenes.SHAPES[target.kind].of(language),
        "colour": scenes.colour_name(target.colour, language),
    }
    form = FORM[min(2, len(spans))][language].format(step=f"{step:g}")
    video = clips.clip(frames, 56, scenes.light_ground(rng), step)
    return Drawn((video, Text(WHEN[kind][language].format(**words) + form)), reference)


def _spans(rng: np.random.Generator, count: int, number: int) -> list[list[int]]:
    """Frames from … to (the last not in it), two or more each and together less than half."""
    while True:
        ends = np.sort(rng.choice(count + 1, 2 * number, replace=False))
        spans = [[int(a), int(b)] for a, b in ends.reshape(-1, 2)]
        lengths = [b - a for a, b in spans]
        if min(lengths) >= 2 and max(lengths) < 0.45 * count:
            return spans


def score(answer: str, reference: Mapping[str, Json]) -> float:
    """tIoU of one stretch, F1 of several."""
    rule = intervals.interval if "interval" in reference else intervals.several
    return rule(answer, reference)


def oracle(task: Task) -> Replies:
    """The stretches."""
    return (boxed(_said(_gold(task))),)


def distractors(task: Task) -> list[Replies]:
    """The whole clip, a fence over it, what is between, turned around, empty, hedged."""
    gold, end = _gold(task), task.reference["end"]
    edges = [0.0, *(time for stretch in gold for time in stretch), end]
    between = [[a, b] for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
    fence = [[end * i / 40, end * (i + 1) / 40] for i in range(40)]
    wrong = [[[0.0, end]], fence, between, [[b, a] for a, b in gold], [[a, a] for a, _ in gold]]
    wrong += [gold + gold, [[a + 1000, b + 1000] for a, b in gold], [[-a - 1, b] for a, b in gold]]
    said = [_said(one) for one in wrong] + ["", "[]", "[nan,nan]", "[0,inf]", "[[0,1e999]]"]
    return [(boxed(one),) for one in [*said, f"{_said(gold)} or {_said(between)}"]]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Stretches anywhere, as many as there are."""
    number = len(_gold(task))
    ends = np.sort(rng.uniform(0, task.reference["end"], 2 * number)).round(2)
    return (boxed(_said(ends.reshape(-1, 2).tolist())),)


def _gold(task: Task) -> list[list[float]]:
    reference = task.reference
    return [reference["interval"]] if "interval" in reference else reference["intervals"]


def _said(stretches: list[list[float]]) -> str:
    said = ",".join(f"[{a:g},{b:g}]" for a, b in stretches)
    return said if len(stretches) == 1 else f"[{said}]"


CATEGORY = Category(
    name="temporal_grounding",
    group="video",
    level="grounding",
    benchmark="Charades-STA, QVHighlights",
    scale="frames: 8 … 16; stretches: 1, from 3 on 2 and 3; another shape from 1 on",
    draw=draw,
    score=by_answer(score),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
