"""An episode as a conversation: what the policy is shown, and demonstrations to fine-tune on."""

from mmtp.data.records import Document, Message, Text
from mmtp.data.tool_list import tool_list
from rl.envs.category import Category
from rl.envs.environment import play
from rl.types import Observation, Rollout, Task, Turn

# A group of categories -> one of `mmtp.data.records.CATEGORIES`, by which losses are reported.
DOCUMENT_CATEGORIES = {
    "perception": "knowledge",
    "grounding": "grounding",
    "grounding_3d": "grounding",
    "ocr": "ocr",
    "charts": "academic",
    "documents": "ocr",
    "stem": "academic",
    "puzzles": "academic",
    "video": "video",
    "spatial": "spatial",
    "gui": "gui",
    "visual_code": "coding",
    "coding": "coding",
    "tools": "tool_use",
    "critic": "knowledge",
    "instructions": "text",
}


def conversation(
    task: Task, turns: tuple[Turn, ...] = (), seen: Observation | None = None
) -> tuple[Message, ...]:
    """The messages of an episode so far.

    Args:
        task: its tools are listed first, where it has any.
        turns: that were taken.
        seen: what is shown now, and is to be answered; None = the episode is over, or has not
            begun and `task.observation` is shown.
    """
    messages = [tool_list(task.tools)] if task.tools else []
    for turn in turns:
        messages.append(Message(turn.observation.role, turn.observation.parts))
        messages.append(Message("assistant", (Text(turn.action.text),)))
    if not turns and seen is None:
        seen = task.observation
    if seen is not None:
        messages.append(Message(seen.role, seen.parts))
    return tuple(messages)


def demonstration(category: Category, task: Task) -> Document:
    """The episode in which the right replies are given, as a document to fine-tune on."""
    rollout: Rollout = play(category, task, category.oracle(task))
    return Document(
        id=task.id,
        category=DOCUMENT_CATEGORIES[category.group],
        messages=conversation(task, rollout.turns),
        tags={"source": task.source},
    )
