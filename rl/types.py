"""What environments, rewards, rollouts and training hand to each other.

Everything is a frozen dataclass; `rl.store` writes and reads it as JSON lines beside image files.
Text, pictures and videos are the parts of `mmtp.data.records`, so an episode is a conversation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mmtp.data.records import Part

LEVELS = ("element", "grounding", "step", "trajectory")  # of the report's hierarchy, §4
LANGUAGES = ("en", "zh")
DIFFICULTIES = range(5)  # 0 is easiest

Json = Any  # None, bool, int, float, str, and lists and dicts (of str) of them
Kind = Literal["value", "abstain", "error"]


@dataclass(frozen=True)
class Observation:
    """What the policy is shown.

    Example:
        Observation((Image(pixels), Text("How many red circles? Answer with a number.")))

    Attributes:
        parts: text, pictures and videos in order.
        role: "user", or "observation" for what a tool or a simulator returns.
    """

    parts: tuple[Part, ...]
    role: str = "user"


@dataclass(frozen=True)
class Task:
    """One question or goal, with what is needed to judge the answer.

    Example:
        Task(
            id="counting/2/000041",
            category="counting",
            source="counting",
            level="element",
            seed=41,
            difficulty=2,
            language="zh",
            observation=Observation((Image(pixels), Text("有几个红色圆形？只回答一个数字。"))),
            reference={"answer": 3},
        )

    Attributes:
        id: unique; equal ids mean equal tasks.
        category: key of `rl.envs.CATEGORIES`.
        source: the data-source tag by which `rl.rewards` picks verifiers; the category's name for
            drawn tasks.
        level: one of LEVELS.
        seed, difficulty, language: what the task is a pure function of, with the category.
        observation: the first one.
        reference: what only the verifier knows.
        state: of a simulator before the first action; {} where there is nothing to act on.
        tools: JSON schemas of the tools that may be called.
        max_turns: actions before the episode ends.
        max_seconds: wall-clock time before it ends, the policy's thinking included.
    """

    id: str
    category: str
    source: str
    level: str
    seed: int
    difficulty: int
    language: str
    observation: Observation
    reference: Mapping[str, Json]
    state: Mapping[str, Json] = field(default_factory=dict)
    tools: tuple[Mapping[str, Json], ...] = ()
    max_turns: int = 1
    max_seconds: float = 600.0


@dataclass(frozen=True)
class Action:
    """What the policy said, as text and, from a rollout engine, as tokens.

    Example:
        Action("<think>One, two, three.</think><|begin_of_box|>3<|end_of_box|>")

    Attributes:
        text: the whole reply, special tokens spelled.
        tokens: ids; () where the text was not made by our engine.
        logprobs: of each token, under the policy that drew it.
        versions: of the policy that drew each token.
        finish_reason: "stop", "length", or "abort".
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    versions: tuple[int, ...] = ()
    finish_reason: str = "stop"


@dataclass(frozen=True)
class Turn:
    """An observation and the action that answered it."""

    observation: Observation
    action: Action


@dataclass(frozen=True)
class Rollout:
    """An episode, from its task to its end.

    Example:
        Rollout(task, (Turn(task.observation, Action("3")),), state={}, ended="done")

    Attributes:
        task: what it is about.
        turns: in order.
        state: of the simulator after the last action.
        ended: "done", "turns" or "time" (a limit of the task), "length" or "abort" (of the engine).
    """

    task: Task
    turns: tuple[Turn, ...]
    state: Mapping[str, Json] = field(default_factory=dict)
    ended: str = "done"

    @property
    def reply(self) -> str:
        """The last thing that was said; "" where nothing was."""
        return self.turns[-1].action.text if self.turns else ""


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of a rollout.

    Example:
        Verdict.of(0.8, "box", iou=0.8)
        Verdict.error("math", "no answer within 1 s")

    Attributes:
        kind: "value"; "abstain": this verifier cannot tell; "error": the verifier failed. Only a
            value is a reward: an error never counts as 0.
        value: 0 … 1; None unless kind is "value".
        verifier: who says it.
        reason: of an abstention or error.
        details: whatever helps a reader, such as parts of a sum.
        seconds: how long it took.
    """

    kind: Kind
    value: float | None
    verifier: str
    reason: str = ""
    details: Mapping[str, Json] = field(default_factory=dict)
    seconds: float = 0.0

    @staticmethod
    def of(value: float, verifier: str, **details: Json) -> "Verdict":
        """A value.

        Raises:
            ValueError: it is not a number from 0 to 1.
        """
        if not 0 <= value <= 1:
            raise ValueError(f"{verifier} gave {value!r}; a reward is a number from 0 to 1")
        return Verdict("value", float(value), verifier, details=details)

    @staticmethod
    def abstain(verifier: str, reason: str) -> "Verdict":
        """No opinion."""
        return Verdict("abstain", None, verifier, reason)

    @staticmethod
    def error(verifier: str, reason: str) -> "Verdict":
        """The verifier failed, which says nothing of the rollout."""
        return Verdict("error", None, verifier, reason)


@dataclass(frozen=True)
class TrainingSample:
    """One rollout as the trainer sees it: a row of tokens, pictures aside.

    Example:
        TrainingSample("counting/2/000041", "counting", group="counting/2/000041#7",
                       tokens=(5, 9, 3), trained=(False, False, True), logprobs=(0, 0, -0.7),
                       versions=(0, 0, 12), reward=1.0, advantage=0.5)

    Attributes:
        task_id, source: of the task.
        group: rollouts that are compared with each other share it.
        tokens: prompt, replies and observations in order.
        trained: True where the policy drew the token.
        logprobs, versions: of those tokens, 0 elsewhere.
        reward: of the whole rollout.
        advantage: of each of its tokens.
    """

    task_id: str
    source: str
    group: str
    tokens: tuple[int, ...]
    trained: tuple[bool, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    reward: float
    advantage: float = 0.0


class Unverifiable(Exception):
    """Raised by a verifier that cannot tell: the verdict is "abstain"."""


class VerifierFailed(Exception):
    """Raised by a verifier that failed, such as one that was killed: the verdict is "error"."""
