"""Looks at a run of reinforcement learning.

    python -m rl.view samples --run DIR --steps 100-110     questions, replies, verdicts: one page
    python -m rl.view samples --run DIR --steps 110 --text  the same in the terminal
    python -m rl.view timeline --run DIR --seconds 60       who did what when: a picture and a trace
    python -m rl.view metrics --run DIR                     rewards of every source over the steps

`python -m rl.view COMMAND --help` tells the options of each.
"""

import argparse
import sys
from pathlib import Path

from cogvit_jax import run_dir
from cogvit_jax.settings import ConfigError
from mmtp.data.tokenizer import Tokenizer, load_tokenizer
from rl import spans, store
from rl.viewing import curves, samples, samples_page, timeline
from rl.viewing.arguments import Parser


def main(arguments: list[str] | None = None) -> None:
    """Entry point; `arguments` of the command line by default."""
    options = parser().parse_args(arguments)
    try:
        print(options.act(options))
    except (ConfigError, OSError, ValueError) as problem:
        sys.exit(f"error: {problem}")


def parser() -> Parser:
    """All commands and their options."""
    whole = Parser(
        prog="python -m rl.view",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, act in (("samples", show_samples), ("timeline", show_timeline), ("metrics", show)):
        doc = act.__doc__ or ""
        added = commands.add_parser(name, help=doc.split("\n")[0], description=doc)
        added.set_defaults(act=act)
        added.add_argument("--run", type=Path, required=True, help="the run's --workdir")
        added.add_argument("--output", type=Path, help="where to write [in the run's folder]")
        if name == "samples":
            added.add_argument("--steps", type=_steps, default=(0, None), help="as 7 or 7-9 [all]")
            added.add_argument("--text", action="store_true", help="in the terminal, no pictures")
        if name == "timeline":
            added.add_argument("--seconds", type=float, default=60.0, help="of the picture [60]")
        if name == "metrics":
            added.add_argument("--smooth", type=int, default=1, help="steps of a mean [1]")
    return whole


def show_samples(options: argparse.Namespace) -> str:
    """Writes a page of the samples of some steps, tokens coloured by what is known of them."""
    found = samples.load(options.run, *options.steps)
    if options.text:
        return samples.as_text(found)
    first, last = found[0].step, found[-1].step
    path = options.output or options.run / f"samples_{first:06d}_{last:06d}.html"
    samples_page.write(found, path, _tokenizer(options.run))
    return f"{len(found)} rollouts: {path}"


def show_timeline(options: argparse.Namespace) -> str:
    """Writes a picture of the last seconds, and a trace of all for https://ui.perfetto.dev."""
    recorded = spans.read(options.run / store.FOLDER / spans.FILE)
    path = options.output or options.run / "timeline.png"
    timeline.draw(recorded, options.seconds).savefig(path, dpi=110)
    trace = path.with_suffix(".trace.json")
    timeline.write_trace(recorded, trace)
    start, stop = timeline.window(recorded, options.seconds)
    idle = timeline.idle_shares(recorded, start, stop)
    lines = [f"{lane}: {share:.1%} idle" for lane, share in idle.items()]
    return "\n".join([*lines, f"last {stop - start:.1f} s: {path}", f"all: {trace}"])


def show(options: argparse.Namespace) -> str:
    """Draws the rewards of every source over the steps."""
    path = options.output or options.run / "sources.png"
    names = curves.draw(options.run / "metrics.jsonl", path, options.smooth)
    return f"{', '.join(names)}: {path}"


def _tokenizer(run: Path) -> Tokenizer | None:
    """Of the run's policy; None where its config is not there."""
    if not (run / "config.json").exists():
        return None
    return load_tokenizer(run_dir.load_config(str(run)).data.tokenizer)


def _steps(text: str) -> tuple[int, int]:
    """First and last."""
    first, _, last = text.partition("-")
    if not all(part.isascii() and part.isdigit() for part in (first, last or first)):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a step nor two, as 100-110")
    return int(first), int(last or first)


if __name__ == "__main__":
    main()
