"""Embedded sources of every category: documents that are drawn, offline, when they are read.

Document i of a task is a pure function of (task, split, i): the same bytes in every process. Even
ones are English, odd ones Chinese. A category, and "all", take its tasks in turn: document i of
n tasks is document i // n of task i % n.

The held-out split has other handwritten digits, photographs and faces than the train split.
Everything else comes from the same drawing code with other seeds: held-out accuracy there measures
learning, not generality beyond that code, and examples of which there are few (a sum of two
numbers, one shape of one colour) can occur in both.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from cogvit_jax.data.records import Source
from mmtp.data.records import CATEGORIES, Document, Text
from mmtp.data.tasks import (
    charts,
    coding,
    critic,
    grounding,
    gui,
    interleaved,
    knowledge,
    ocr,
    python_code,
    science,
    spatial,
    text,
    tool_use,
    video,
    web,
)
from mmtp.data.tasks.example import LANGUAGES, Example

SPLITS = {"train": 200_000, "heldout": 2_000}  # documents per task
Draw = Callable[[np.random.Generator, str, str], Example]  # (random numbers, language, split)

# Task -> (category, how it is drawn).
TASKS: dict[str, tuple[str, Draw]] = {
    "arithmetic": ("text", text.arithmetic),
    "sorting": ("text", text.sorting),
    "comparing": ("text", text.comparing),
    "copying": ("text", text.copying),
    "facts": ("text", text.facts),
    "lookup": ("text", text.lookup),
    "stories": ("text", text.stories),
    "one_colour": ("knowledge", knowledge.one_colour),
    "colours": ("knowledge", knowledge.colours),
    "shapes": ("knowledge", knowledge.shape_names),
    "photos": ("knowledge", knowledge.photos),
    "faces": ("knowledge", knowledge.faces),
    "which_picture": ("interleaved", interleaved.which_picture),
    "captions": ("interleaved", interleaved.captions),
    "changes": ("interleaved", interleaved.changes),
    "sequences": ("interleaved", interleaved.sequences),
    "digits": ("ocr", ocr.digits),
    "printed_numbers": ("ocr", ocr.printed_numbers),
    "printed_words": ("ocr", ocr.printed_words),
    "tables": ("ocr", ocr.tables),
    "receipts": ("ocr", ocr.receipts),
    "svg_from_picture": ("coding", coding.svg_from_picture),
    "svg_from_words": ("coding", coding.svg_from_words),
    "svg_questions": ("coding", coding.svg_questions),
    "svg_description": ("coding", coding.svg_description),
    "svg_repair": ("coding", coding.svg_repair),
    "svg_choice": ("coding", coding.svg_choice),
    "html_from_picture": ("coding", web.html_from_picture),
    "html_questions": ("coding", web.html_questions),
    "html_choice": ("coding", web.html_choice),
    "python_prints": ("coding", python_code.prints),
    "python_writes": ("coding", python_code.writes),
    "gui_elements": ("gui", gui.what_is_there),
    "gui_states": ("gui", gui.states),
    "gui_grounding": ("gui", gui.grounding),
    "gui_steps": ("gui", gui.single_steps),
    "gui_trajectories": ("gui", gui.trajectories),
    "gui_critic_states": ("gui", gui.critic_states),
    "gui_critic_actions": ("gui", gui.critic_actions),
    "motion": ("video", video.motion),
    "blinking": ("video", video.blinking),
    "colour_order": ("video", video.order),
    "appearing": ("video", video.appearing),
    "zoom_calls": ("tool_use", tool_use.zoom_calls),
    "zoom_answers": ("tool_use", tool_use.zoom_answers),
    "rotations": ("tool_use", tool_use.rotations),
    "calculations": ("tool_use", tool_use.calculations),
    "sides": ("spatial", spatial.sides),
    "counting": ("spatial", spatial.counting),
    "nearest": ("spatial", spatial.nearest),
    "sizes": ("spatial", spatial.sizes),
    "depth": ("spatial", spatial.depth),
    "one_point": ("grounding", grounding.one_point),
    "points": ("grounding", grounding.points),
    "boxes": ("grounding", grounding.boxes),
    "what_is_there": ("grounding", grounding.what_is_there),
    "find_digit": ("grounding", grounding.find_digit),
    "find_word": ("grounding", grounding.find_word),
    "critic_attributes": ("grounding", critic.attributes),
    "critic_counts": ("grounding", critic.counts),
    "critic_sides": ("grounding", critic.sides),
    "critic_places": ("grounding", critic.places),
    "bars": ("academic", charts.bars),
    "slopes": ("academic", charts.slopes),
    "angles": ("academic", charts.angles),
    "areas": ("academic", charts.areas),
    "third_angles": ("academic", charts.third_angles),
    "levers": ("academic", science.levers),
    "forces": ("academic", science.forces),
    "circuits": ("academic", science.circuits),
    "molecules": ("academic", science.molecules),
}


@dataclass(frozen=True)
class DrawnDocuments:
    """Documents that are drawn on access.

    Attributes:
        tasks: keys of TASKS, taken in turn.
        split: key of SPLITS.
    """

    tasks: tuple[str, ...]
    split: str

    def __len__(self) -> int:
        """Number of documents."""
        return SPLITS[self.split] * len(self.tasks)

    def __getitem__(self, index: int) -> Document:
        """Draws document `index`.

        Raises:
            IndexError: outside of 0 ... len - 1.
        """
        if not 0 <= index < len(self):
            raise IndexError(
                f"{'+'.join(self.tasks)}/{self.split} has {len(self)} documents; asked for {index}"
            )
        return draw(self.tasks[index % len(self.tasks)], self.split, index // len(self.tasks))


def draw(task: str, split: str, index: int) -> Document:
    """Document `index` of one task."""
    category, drawn_by = TASKS[task]
    language = LANGUAGES[index % len(LANGUAGES)]
    rng = np.random.default_rng((zlib.crc32(f"{task}/{split}".encode()), index))
    example = drawn_by(rng, language, split)
    return Document(
        id=f"{task}/{split}/{index:06d}",
        category=category,
        messages=example.messages,
        tags={"task": task, "language": language, **example.tags},
    )


def tasks_of(name: str) -> tuple[str, ...]:
    """The tasks that a name stands for: a task, a category, or "all"."""
    if name in TASKS:
        return (name,)
    return tuple(task for task, (category, _) in TASKS.items() if name in (category, "all"))


def open_tasks(rest: str) -> Source:
    """Opens drawn documents, without a file or a download.

    Args:
        rest: a task, a category or "all", and "/train" or "/heldout": "digits/train",
            "ocr/heldout", "all/train".

    Raises:
        ValueError: another name.
    """
    name, _, split = rest.partition("/")
    tasks = tasks_of(name)
    if not tasks or split not in SPLITS:
        raise ValueError(
            f"No drawn tasks '{rest}'. Use NAME/train or NAME/heldout, where NAME is all, one of "
            f"the categories {', '.join(CATEGORIES)}, or one of the tasks {', '.join(TASKS)}."
        )
    records = cast(Any, DrawnDocuments(tasks, split))  # documents in the place of pictures
    return Source(name=f"tasks:{rest}", records=records, flippable=False)


def sample_texts(seed: int, per_task: int) -> list[str]:
    """All text of some train documents of every task, from which a vocabulary can be made.

    Args:
        seed: which documents.
        per_task: number of documents of each task; half are English, half Chinese.
    """
    found = []
    for task in TASKS:
        first = np.random.default_rng((seed, zlib.crc32(task.encode()))).integers(
            SPLITS["train"] - per_task
        )
        for index in range(first, first + per_task):
            found += texts_of(draw(task, "train", index))
    return found


def texts_of(document: Document) -> list[str]:
    """Every text of a document, thoughts included."""
    found = []
    for message in document.messages:
        found += [message.thinking] if message.thinking else []
        found += [part.text for part in message.parts if isinstance(part, Text)]
    return found
