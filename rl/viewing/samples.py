"""What a run trained on, to be read: questions, replies token by token, verdicts, rewards.

    write(load("runs/rl", 100, 110), "samples.html", load_tokenizer())
    print(as_text(load("runs/rl", 110, 110)))

A run keeps the newest of DIR/rollouts/step_STEP.jsonl (`rl.store`): of each rollout the rollout
itself, then its verdict, then its training sample; either may be missing.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cogvit_jax.settings import ConfigError
from mmtp.data.records import Text
from mmtp.data.tokenizer import StreamDecoder, Tokenizer
from rl import store
from rl.rewards.statistics import Group
from rl.types import Action, Rollout, TrainingSample, Verdict
from rl.viewing import texts

UNFINISHED = "◌"  # a token that ends within a character


@dataclass(frozen=True)
class Judged:
    """A rollout, with what came of it.

    Attributes:
        step: of training, whose batch it was part of.
        rollout: the episode.
        verdict: on it, or None.
        sample: what was trained on, or None.
    """

    step: int
    rollout: Rollout
    verdict: Verdict | None = None
    sample: TrainingSample | None = None

    @property
    def reward(self) -> float | None:
        """Of the training sample, else of the verdict."""
        if self.sample is not None:
            return self.sample.reward
        return None if self.verdict is None else self.verdict.value

    @property
    def group(self) -> str:
        """Those that are compared share it."""
        return self.rollout.task.id if self.sample is None else self.sample.group


def load(run: str | Path, first: int = 0, last: int | None = None) -> list[Judged]:
    """Rollouts of the steps `first` to `last`, in order.

    Raises:
        ConfigError: the run has none.
        StoreError: a file is damaged.
    """
    folder = Path(run) / store.FOLDER
    files = {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.jsonl")}
    steps = sorted(step for step in files if step >= first and (last is None or step <= last))
    if not steps:
        there = f"steps {min(files)} to {max(files)}" if files else "none"
        raise ConfigError(f"{folder} has no rollouts of these steps; it has {there}")
    return [one for step in steps for one in judged(step, store.read(files[step]))]


def judged(step: int, items: Iterable[store.Item]) -> list[Judged]:
    """Puts rollouts together with the verdicts and samples that follow them."""
    found: list[Judged] = []
    for item in items:
        if isinstance(item, Rollout):
            found.append(Judged(step, item))
        elif isinstance(item, Verdict) and found:
            found[-1] = replace(found[-1], verdict=item)
        elif isinstance(item, TrainingSample) and found:
            found[-1] = replace(found[-1], sample=item)
    return found


def groups(found: Iterable[Judged]) -> list[list[Judged]]:
    """Rollouts of a step that are compared with each other, in order of their first."""
    by_name: dict[tuple[int, str], list[Judged]] = {}
    for one in found:
        by_name.setdefault((one.step, one.group), []).append(one)
    return list(by_name.values())


def group_facts(group: Sequence[Judged]) -> str:
    """How many rollouts there are, and their rewards' mean, deviation and bounds, on one line."""
    rewards = [one.reward for one in group if one.reward is not None]
    task = group[0].rollout.task
    total = Group(task.source, task.level)
    for reward in rewards:
        total = total.plus(Group(task.source, task.level, 1, 0, reward, reward))
    said = f"{len(group)} rollouts"
    if not rewards:
        return f"{said}, no rewards"
    said += f", reward {statistics.fmean(rewards):.3f} ± {statistics.pstdev(rewards):.3f}"
    said += f", {total.least:g} … {total.most:g}"
    equal = len(rewards) > 1 and total.least == total.most
    return f"{said}, all equal: no gradient" if equal else said


def pieces(action: Action, tokenizer: Tokenizer | None) -> list[str]:
    """The text of each token; the whole text where there are no tokens or nothing to read them."""
    if tokenizer is None or not action.tokens:
        return [action.text]
    decoder = StreamDecoder(tokenizer, skip_special=False)
    said = [decoder.push(token) or UNFINISHED for token in action.tokens]
    rest = decoder.finish()
    return [*said[:-1], rest] if rest and said[-1] == UNFINISHED else said


def parts_of(verdict: Verdict | None) -> list[str]:
    """What a verdict is made of, one line each."""
    if verdict is None:
        return []
    found = []
    for name, part in verdict.details.get("parts", {}).items():
        value = part.get("value")
        said = f"{value:g}" if isinstance(value, int | float) else str(part.get("kind", ""))
        reason = f": {texts.visible(part['reason'], 300)}" if part.get("reason") else ""
        found.append(f"{name} {said}{reason}")
    return found


def as_text(found: Sequence[Judged]) -> str:
    """All that a page has, but pictures and figures of tokens, for a terminal."""
    lines = []
    for group in groups(found):
        task = group[0].rollout.task
        lines += [f"== step {group[0].step}, {task.id} ({task.source})", group_facts(group)]
        for part in task.observation.parts:
            shown = texts.visible(part.text) if isinstance(part, Text) else None
            lines.append(shown if shown is not None else f"[{type(part).__name__.lower()}]")
        for number, one in enumerate(group, 1):
            lines += ["", f"-- {number}: {told(one)}", *_said(one.rollout), *parts_of(one.verdict)]
        lines.append("")
    return "\n".join(lines)


def told(one: Judged) -> str:
    """Reward, advantage, length and versions of a rollout on one line."""
    actions = [turn.action for turn in one.rollout.turns]
    tokens = sum(len(action.tokens) for action in actions)
    versions = sorted({version for action in actions for version in action.versions})
    said = [f"reward {one.reward:g}" if one.reward is not None else "no reward"]
    said += [f"advantage {one.sample.advantage:+.3g}"] if one.sample else []
    said += [f"{tokens} tokens"] if tokens else []
    said += [f"{len(actions)} turns"] if len(actions) > 1 else []
    if versions:
        several = f"versions {versions[0]} … {versions[-1]}"
        said.append(several if len(versions) > 1 else f"version {versions[0]}")
    return ", ".join([*said, one.rollout.ended])


def _said(rollout: Rollout) -> list[str]:
    found = []
    for number, turn in enumerate(rollout.turns):
        seen = turn.observation.parts if number else ()
        found += [f"< {texts.visible(part.text)}" for part in seen if isinstance(part, Text)]
        found.append(f"> {texts.visible(turn.action.text)}")
    return found
