"""A task answered by a person in the terminal.

A line is a reply. A line of three quotation marks begins a reply of several lines and ends it;
`/file FILE` takes a reply from a file; `/quit`, or the end of input, leaves.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from mmtp.data.records import Text, Video
from rl.envs.category import Category
from rl.envs.environment import Environment, judge
from rl.types import Observation, Rollout, Task
from rl.viewing import pictures, texts

QUOTES = '"""'
HINT = (
    f'A line is a reply; {QUOTES} begins and ends one of several lines; "/file FILE" takes it from '
    'a file; "/quit" leaves.\n'
)


class Left(Exception):
    """Raised where the player leaves before the end."""


def play(
    category: Category, task: Task, folder: Path, line: Callable[[], str], out: TextIO
) -> Rollout | None:
    """Lets a person play an episode and tells the verdict; None where the person left.

    Args:
        category: of the task.
        task: what is played. The time that a person takes is not counted.
        folder: where its pictures are written.
        line: gives the next line that was typed; EOFError or KeyboardInterrupt at the end.
        out: where to write.
    """
    env = Environment(category, clock=lambda: 0.0)
    seen, done, turn = env.begin(task), False, 1
    out.write(f"{texts.facts(category)}\n{task.id}\n{HINT}")
    try:
        while not done:
            out.write(f"\nturn {turn} of at most {task.max_turns}\n")
            show(seen, folder, f"turn_{turn:02d}", out)
            seen, done = asyncio.run(env.step(_reply(line, out)))
            turn += 1
    except (EOFError, KeyboardInterrupt, Left):
        out.write(f"\nLeft after {len(env.rollout.turns)} turns; nothing was judged. Goodbye.\n")
        return None
    show(seen, folder, "end", out)
    out.write(verdict(category, env.rollout))
    return env.rollout


def show(observation: Observation, folder: Path, name: str, out: TextIO) -> None:
    """Writes texts, and the paths of pictures, which become PNG files."""
    for number, part in enumerate(observation.parts):
        if isinstance(part, Text):
            out.write(f"{texts.visible(part.text, 20_000)}\n")
            continue
        picture = pictures.shown(part)
        assert picture is not None
        path = pictures.save(picture, folder / f"{name}_{number}.png")
        what = f"{len(part.frames)} frames" if isinstance(part, Video) else "picture"
        out.write(f"[{what}: {path}]\n")


def verdict(category: Category, rollout: Rollout) -> str:
    """What came of an episode, with all that the verifier knew."""
    found = judge(category, rollout)
    oracle = " → ".join(texts.answer(reply) for reply in category.oracle(rollout.task))
    lines = [
        f"\nverdict: {texts.told(found)}",
        f"ended: {rollout.ended} after {len(rollout.turns)} of at most {rollout.task.max_turns}",
        f"understood: {texts.answer(rollout.reply)}",
        f"right would be: {oracle}",
        f"the verifier knows: {texts.as_json(dict(rollout.task.reference))}",
    ]
    if rollout.state:
        lines.append(f"the state at the end: {texts.as_json(dict(rollout.state))}")
    return "\n".join(lines) + "\n"


def _reply(line: Callable[[], str], out: TextIO) -> str:
    """The next reply; asks again where there is none."""
    while True:
        text = line()
        command, _, rest = text.strip().partition(" ")
        if text.strip() == QUOTES:
            return _several(line)
        if command == "/quit":
            raise Left
        if command == "/file":
            try:
                return Path(rest.strip()).expanduser().read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as problem:
                out.write(f"error: {problem}\n")
        elif text.strip():
            return text.rstrip("\n")


def _several(line: Callable[[], str]) -> str:
    lines = []
    while (text := line()).strip() != QUOTES:
        lines.append(text)
    return "\n".join(lines)
