"""The commands of `python -m rl.gym`: how each is called, and what it does."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import track

from cogvit_jax.settings import ConfigError, choose, unknown
from mmtp.data.jsonl import write_jsonl
from rl.conversation import demonstration
from rl.envs import CATEGORIES, make_task
from rl.envs.category import Category
from rl.types import DIFFICULTIES, LANGUAGES
from rl.viewing import pictures, playing, report, sheets, tables, texts
from rl.viewing.arguments import Parser
from rl.viewing.episodes import follow

DEMONSTRATIONS = 10**9  # the first seed of what is fine-tuned on
FOLDER = Path("runs/gym")  # where pictures go
WIDE = 200  # characters of a table that is not shown in a terminal


def parser(doc: str) -> Parser:
    """All commands and their options; `doc` is the text of `--help`."""
    whole = Parser(
        prog="python -m rl.gym",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add(commands, "list", list_categories)
    show = _add(commands, "show", show_category)
    show.add_argument("category", metavar="CATEGORY", help="its name, as `list` gives it")
    show.add_argument("--seed", type=_natural, help="one episode of this seed, in full")
    show.add_argument("--seeds", type=_positive, default=4, help="columns of the sheet [4]")
    _task_options(show, None)
    play = _add(commands, "play", play_category)
    play.add_argument("category", metavar="CATEGORY", help="its name, as `list` gives it")
    play.add_argument("--seed", type=_natural, default=0, help="of the task [0]")
    _task_options(play, 0)
    told = _add(commands, "report", write_report)
    told.add_argument("--categories", default="", help="names, separated by commas [all]")
    told.add_argument("--seeds", type=_positive, default=2, help="tasks of each difficulty [2]")
    told.add_argument(
        "--guesses", type=_positive, default=100, help="of each category's random baseline [100]"
    )
    _output(told)
    shown = _add(commands, "demonstrate", write_demonstrations)
    shown.add_argument(
        "--categories", required=True, help="names, separated by commas; NAME=COUNT for so many"
    )
    shown.add_argument("--count", type=_positive, default=1000, help="of each category [1000]")
    shown.add_argument(
        "--difficulties", default="0", help="of DIFFICULTIES, separated by commas, in turn [0]"
    )
    shown.add_argument(
        "--first_seed", type=_natural, default=DEMONSTRATIONS, help=f"[{DEMONSTRATIONS}]"
    )
    shown.add_argument(
        "--language", choices=LANGUAGES, default="", help="[en for even seeds, zh for odd ones]"
    )
    shown.add_argument("--file", type=Path, required=True, help="the .jsonl file to write")
    return whole


def run(arguments: Sequence[str], doc: str) -> None:
    """Runs a command; ends with status 1 and one line where something is wrong with it."""
    reader = parser(doc)
    names = ("list", "show", "play", "report", "demonstrate")
    if arguments and not arguments[0].startswith("-") and arguments[0] not in names:
        sys.exit(f"error: {unknown(f'command {arguments[0]!r}', arguments[0], names)}")
    options = reader.parse_args(arguments)
    try:
        options.run(options, sys.stdout)
    except (ConfigError, OSError) as problem:
        sys.exit(f"error: {problem}")


def list_categories(options: argparse.Namespace, out: TextIO) -> None:
    """Prints a table of all categories, and how many there are of each group and level."""
    del options
    console = _console(out)
    console.print(tables.categories(CATEGORIES))
    console.print(tables.totals(CATEGORIES))


def show_category(options: argparse.Namespace, out: TextIO) -> None:
    """Writes a sheet of pictures: of several seeds and difficulties, or with --seed of an episode.

    Without --seed, the sheet has a row of each difficulty and a column of each seed: pictures,
    question and right answer. With it, the sheet has each observation of the episode in which the
    right replies are given; its text is printed.
    """
    category = _category(options.category)
    out.write(f"{texts.facts(category)}\n")
    if options.seed is not None:
        _show_episode(category, options, out)
        return
    chosen = list(DIFFICULTIES) if options.difficulty is None else [options.difficulty]
    seeds = range(options.seeds)
    drawn = sheets.contact_sheet(category, seeds, chosen, options.language)
    path = pictures.save(drawn, _folder(options, "sheets") / f"{category.name}.png")
    for difficulty in chosen:
        for seed in seeds:
            task = make_task(category, seed, difficulty, options.language)
            out.write(f"\n{task.id}\n{texts.visible(_question(task.observation.parts))}\n")
            out.write(f"=> {sheets.summary(category.oracle(task))}\n")
    out.write(f"\nsheet: {path}\n")


def play_category(options: argparse.Namespace, out: TextIO) -> None:
    """Lets you answer: pictures become PNG files, replies are read line by line, then judged.

    A line is a reply; three quotation marks on a line of their own begin and end one of several
    lines; "/file FILE" takes a reply from a file; "/quit", or the end of input, leaves.
    """
    category = _category(options.category)
    task = make_task(category, options.seed, options.difficulty, options.language)
    folder = _folder(options, "play") / task.id.replace("/", "_")
    playing.play(category, task, folder, lambda: input("> "), out)


def write_report(options: argparse.Namespace, out: TextIO) -> None:
    """Writes a folder with index.html: samples, verdicts, random baselines, times, contact sheets.

    Each category has a page with tasks of every difficulty, and what its verifier says of the right
    replies, of each known wrong one, and of a guess. summary.json has the figures.
    """
    names = [name.strip() for name in options.categories.split(",") if name.strip()]
    chosen = [_category(name) for name in names] or list(CATEGORIES.values())
    folder = _folder(options, "report")
    measured = report.write(chosen, folder, options.seeds, options.guesses)
    _console(out).print(tables.measured(measured))
    odd = sum(one.unexpected for one in measured)
    out.write(f"{odd} verdicts are not what they should be\n" if odd else "")
    out.write(f"report: {folder / 'index.html'}\n")


def write_demonstrations(options: argparse.Namespace, out: TextIO) -> None:
    """Writes right replies as conversations to fine-tune on: --config.data.train=jsonl:FILE.

    Their seeds begin at a thousand million, far from those that training and evaluation draw.
    """
    chosen = [_counted(name, options.count) for name in options.categories.split(",")]
    difficulties = [int(number) for number in options.difficulties.split(",")]
    tasks = (
        (
            category,
            make_task(
                category,
                options.first_seed + number,
                difficulties[number // len(LANGUAGES) % len(difficulties)],
                options.language,
            ),
        )
        for number in range(max(count for _, count in chosen))
        for category, count in chosen
        if number < count
    )
    options.file.parent.mkdir(parents=True, exist_ok=True)
    total = sum(count for _, count in chosen)
    shown = track(tasks, "drawing", total, console=Console(stderr=True))
    written = write_jsonl(options.file, (demonstration(*one) for one in shown))
    out.write(f"{written} demonstrations: {options.file}\n")


def _counted(name: str, count: int) -> tuple[Category, int]:
    """A category and how many are wanted of it: NAME or NAME=COUNT."""
    name, equals, number = name.partition("=")
    try:
        return _category(name.strip()), _positive(number) if equals else count
    except argparse.ArgumentTypeError as problem:
        raise ConfigError(f"--categories {name}={number}: {problem}.") from problem


def _show_episode(category: Category, options: argparse.Namespace, out: TextIO) -> None:
    task = make_task(category, options.seed, options.difficulty or 0, options.language)
    episode = follow(category, task, category.oracle(task))
    folder = _folder(options, "episodes") / task.id.replace("/", "_")
    path = pictures.save(sheets.episode_sheet(episode), folder / "episode.png")
    out.write(f"{task.id}\n")
    for number, turn in enumerate(episode.rollout.turns, 1):
        out.write(f"\nturn {number}\n")
        playing.show(turn.observation, folder, f"turn_{number:02d}", out)
        out.write(f"=> {texts.visible(turn.action.text)}\n")
    if episode.last.parts:
        out.write("\nat the end\n")
        playing.show(episode.last, folder, "end", out)
    out.write(playing.verdict(category, episode.rollout))
    out.write(f"sheet: {path}\n")


def _add(commands: argparse._SubParsersAction, name: str, run: Callable[..., None]) -> Parser:
    doc = run.__doc__ or ""
    added = commands.add_parser(
        name,
        help=doc.split("\n")[0],
        description="\n".join(line.strip() for line in doc.strip().split("\n")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(run=run)
    return added


def _task_options(added: Parser, difficulty: int | None) -> None:
    default = "all on a sheet, 0 with --seed" if difficulty is None else difficulty
    added.add_argument(
        "--difficulty", type=int, choices=DIFFICULTIES, default=difficulty, help=f"[{default}]"
    )
    added.add_argument(
        "--language", choices=LANGUAGES, default="", help="[en for even seeds, zh for odd ones]"
    )
    _output(added)


def _output(added: Parser) -> None:
    added.add_argument(
        "--output", type=Path, metavar="DIR", help=f"folder for what is written [in {FOLDER}]"
    )


def _folder(options: argparse.Namespace, name: str) -> Path:
    return options.output or FOLDER / name


def _category(name: str) -> Category:
    return choose(CATEGORIES, name, "category")


def _question(parts: Sequence) -> str:
    """All texts of an observation."""
    return "\n".join(part.text for part in parts if hasattr(part, "text"))


def _natural(text: str) -> int:
    return _at_least(text, 0)


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _at_least(text: str, low: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -math.inf
    if value < low:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, {low} or more")
    return int(value)


def _console(out: TextIO) -> Console:
    console = Console(file=out)
    return console if console.is_terminal else Console(file=out, width=WIDE)
