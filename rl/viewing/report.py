"""A report on categories: pages, pictures, contact sheets and figures in one folder.

index.html         figures of all, contact sheets
NAME.html          samples of a category, with the verdict on every known reply
sheets/NAME.png    contact sheets
NAME/*.png         pictures of the samples
summary.json       all figures
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmtp.data.records import Video
from rl.envs.category import Category
from rl.types import DIFFICULTIES
from rl.viewing import measures, page, pictures, sheets
from rl.viewing.episodes import Sample
from rl.viewing.markup import Markup
from rl.viewing.measures import Measured


def write(categories: Sequence[Category], folder: Path, seeds: int, guesses: int) -> list[Measured]:
    """Measures categories and writes the report; returns the figures, without the samples.

    Args:
        categories: which ones.
        folder: where; made if it is not there. Files of an earlier report are replaced.
        seeds: samples of each difficulty.
        guesses: of the random baseline of each category.
    """
    (folder / "sheets").mkdir(parents=True, exist_ok=True)
    console, found = Console(stderr=True), []
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task("", total=len(categories) * measures.steps(seeds, guesses))
        for category in categories:
            progress.update(bar, description=category.name)
            one = measures.measure(category, seeds, guesses, lambda: progress.advance(bar))
            _write_category(one, folder, seeds)
            found.append(replace(one, samples=()))
    _put(folder / "index.html", page.index(found, seeds, guesses))
    told = json.dumps(measures.figures(found, seeds, guesses), indent=1, ensure_ascii=False)
    _put(folder / "summary.json", f"{told}\n")
    return found


def _write_category(one: Measured, folder: Path, seeds: int) -> None:
    name = one.category.name
    sheet = sheets.contact_sheet(one.category, range(min(seeds, 4)), DIFFICULTIES)
    pictures.save(sheet, folder / "sheets" / f"{name}.png")
    elements = [_pictures(sample, folder) for sample in one.samples]
    episodes = [_episode(sample, folder) for sample in one.samples]
    _put(folder / f"{name}.html", page.category(one, elements, episodes))


def _pictures(sample: Sample, folder: Path) -> dict[int, Markup]:
    """Writes the pictures of a task's first observation; all are shown in one scale.

    Returns:
        Their elements, by the places of the pictures in the observation.
    """
    parts, found = sample.task.observation.parts, {}
    shown = {
        i: drawn for i, part in enumerate(parts) if (drawn := pictures.shown(part)) is not None
    }
    widest = max((drawn.shape[1] for drawn in shown.values()), default=1)
    grown = max(1, page.GROWN // widest)
    for number, drawn in shown.items():
        path = f"{_stem(sample)}_{number}.png"
        pictures.save(drawn, folder / path)
        what = "Frames" if isinstance(parts[number], Video) else "Picture"
        alt = f"{what} {len(found) + 1} of {sample.task.id}"
        size = (drawn.shape[1], drawn.shape[0])
        found[number] = page.picture(path, size, grown, alt, sheets.caption(parts, number))
    return found


def _episode(sample: Sample, folder: Path) -> str:
    """Writes the sheet of the right episode, where it may have several turns."""
    if sample.task.max_turns == 1:
        return ""
    path = f"{_stem(sample)}_episode.png"
    pictures.save(sheets.episode_sheet(sample.episodes[0]), folder / path)
    return path


def _stem(sample: Sample) -> str:
    task = sample.task
    return f"{task.category}/{task.difficulty}_{task.seed:03d}"


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
