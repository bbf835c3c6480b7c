"""`config.tasks` and `config.curriculum`: which tasks are drawn, and those that are held out."""

import fnmatch
from dataclasses import dataclass
from typing import Any

from cogvit_jax import settings
from cogvit_jax.settings import ConfigError, unknown
from rl import curriculum
from rl.curriculum_settings import CurriculumSettings
from rl.envs import CATEGORIES
from rl.envs.category import Category, make_task
from rl.types import LANGUAGES, Json, Task

EVALUATED = "config.evals.categories"
HELD_OUT = 5 * 10**8  # the first seed of held-out tasks; a run that draws so many never ends


@dataclass(frozen=True)
class TaskSettings:
    """`config.tasks`.

    Attributes:
        categories: names or globs of `rl.envs.CATEGORIES`, such as ("gui_*", "maze"); ("*",) = all.
    """

    categories: tuple[str, ...] = ("*",)


def chosen(config: TaskSettings, path: str = "config.tasks.categories") -> dict[str, Category]:
    """The categories that are drawn, by name; `path` is the field that errors name.

    Raises:
        ConfigError: a name or glob that fits none.
    """
    for glob in config.categories:
        if not fnmatch.filter(CATEGORIES, glob):
            raise ConfigError(unknown(f"{path}: {glob!r}", glob, CATEGORIES))
    return {
        name: category
        for name, category in CATEGORIES.items()
        if any(fnmatch.fnmatchcase(name, glob) for glob in config.categories)
    }


def sources(config: Any) -> tuple[str, ...]:
    """Data-source tags of a run's tasks: the categories that are drawn."""
    return tuple(chosen(settings.read(TaskSettings, config.tasks, "config.tasks")))


def task_of(pick: Json) -> Task:
    """The task of a pick that was written as JSON."""
    category = CATEGORIES[pick["category"]]
    return make_task(category, pick["seed"], pick["difficulty"], pick["language"])


class Tasks:
    """The curriculum of a run, drawn from and told of rewards."""

    def __init__(self, config: Any, saved: dict[str, Json] | None) -> None:
        section = {**config.curriculum, "seed": config.seed}
        self.settings = settings.read(CurriculumSettings, section, "config.curriculum")
        read = settings.read(TaskSettings, config.tasks, "config.tasks")
        levels = {name: category.level for name, category in chosen(read).items()}
        self.state = saved or curriculum.start(self.settings, levels)

    def draw(self, count: int) -> list[Json]:
        """The next picks, as JSON."""
        picks, self.state = curriculum.draw(self.settings, self.state, count)
        return [pick._asdict() for pick in picks]

    def observe(self, pick: Json, rewards: list[float]) -> None:
        """A group has ended with these rewards."""
        category, difficulty = pick["category"], pick["difficulty"]
        self.state = curriculum.observe(self.settings, self.state, category, difficulty, rewards)


def held_out(config: Any, count: int, categories: tuple[str, ...] = ()) -> list[Task]:
    """So many tasks of each category, of the difficulties and languages that are trained on.

    Args:
        config: of the run.
        count: of each category.
        categories: names or globs; () = those that are trained on.

    Raises:
        ConfigError: a name or glob that fits none.
    """
    found = settings.read(CurriculumSettings, config.curriculum, "config.curriculum")
    trained = settings.read(TaskSettings, config.tasks, "config.tasks")
    asked = chosen(TaskSettings(categories), EVALUATED) if categories else chosen(trained)
    languages = [LANGUAGES[0]] * (found.chinese < 1) + [LANGUAGES[1]] * (found.chinese > 0)
    return [
        make_task(
            category,
            HELD_OUT + number,
            found.difficulties[number // len(languages) % len(found.difficulties)],
            languages[number % len(languages)],
        )
        for category in asked.values()
        for number in range(count)
    ]
