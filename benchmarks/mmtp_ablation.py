"""What multi-token prediction is fed at visual tokens: five arms, paired seeds, tables and plots.

    python -m benchmarks.mmtp_ablation
    python -m benchmarks.mmtp_ablation --seeds=0,1,2,3,4 --markdown=mmtp.md --plot=plots

Arms, model and data are those of `configs/ablations/mmtp.py`. Every run is `mmtp.main` in a
process of its own, seed after seed, so that what is complete is paired; then each trained model
drafts and verifies on held-out questions, once per served arm. What is complete is not repeated. A
run takes about a minute of one core: XLA_FLAGS=--xla_cpu_multi_thread_eigen=false with
--processes=2 keeps two cores busy.

Runs of one seed begin with the same parameters and see the same batches, so arms are compared by
differences within a seed. Intervals are Student's t over seeds, 95%; there are many of them, so a
few will leave out zero by chance.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from benchmarks import ablations
from benchmarks.ablations import Run
from benchmarks.mmtp_ablation_plots import drawings
from benchmarks.mmtp_ablation_tables import BASE, SERVING, markdown, matrix, summarise
from cogvit_jax import compilation_cache
from mmtp.data.documents import encode_prompt, stop_tokens
from mmtp.data.records import Document
from mmtp.data.sources import open_source
from mmtp.evals import acceptance, mismatch
from mmtp.evals.heldout import spread
from mmtp.generate import EngineSettings, Request, make_request
from mmtp.run import Loaded, load

SOURCES = ("tasks:grounding/heldout", "tasks:svg_from_picture/heldout")


def plan(seeds: Sequence[int], root: Path, steps: int = 0, smoke: bool = False) -> list[Run]:
    """All arms of the first seed, then of the second, and so on."""
    return sorted(ablations.plan("mmtp", seeds, root, steps, smoke), key=lambda run: run.seed)


def serve_all(runs: Sequence[Run], console: Console, num_questions: int = 24) -> None:
    """Writes workdir/serving.json of every complete run that has none: `serve`'s figures."""
    for run in runs:
        target = run.workdir / SERVING
        if run.is_complete and not target.exists():
            figures = serve(load(str(run.workdir)), num_questions)
            target.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            console.print(f"served: {run.variant}, seed {run.seed}: {target}")


def serve(loaded: Loaded, num_questions: int) -> dict[str, Any]:
    """Acceptance lengths of greedy drafts with each arm served.

    Returns:
        `length`: {served arm: mean of the sources' acceptance lengths}; `sources`: {source:
        {served arm: figures of `acceptance.summarise`}}; `equal`: the smallest share of completions
        that are the same whatever is served (drafts change the time, not the text); `image_row` and
        `median_row`: norms of the embedding of `<|image|>` and of the rows of the table.
    """
    sizes = engine_settings(loaded, min(num_questions, 12))
    sources, equal = {}, 1.0
    for source in SOURCES:
        asked = questions(loaded, source, num_questions)
        found = mismatch.serve(loaded.model, loaded.params, asked, sizes)
        sources[source] = {arm: acceptance.summarise(steps) for arm, (steps, _) in found.items()}
        first = found[BASE][1]
        equal = min(equal, *(mismatch.equal_share(first, other) for _, other in found.values()))
    norms = np.linalg.norm(np.asarray(loaded.params["decoder"]["embedding"]["table"]), axis=1)
    return {
        "length": {
            arm: statistics.mean(figures[arm].get("length", 1.0) for figures in sources.values())
            for arm in mismatch.SERVED
        },
        "sources": sources,
        "equal": equal,
        "image_row": float(norms[loaded.model.image_token]),
        "median_row": float(np.median(norms)),
    }


def engine_settings(loaded: Loaded, rows: int) -> EngineSettings:
    """Sizes of an engine for a run's rows, with a draft per trained depth."""
    return EngineSettings(
        rows=rows,
        max_length=loaded.max_length,
        buckets=(loaded.max_length // 2,),
        vision_length=loaded.vision_length,
        num_draft=loaded.model.mtp.depth,
    )


def questions(loaded: Loaded, source: str, number: int) -> list[Request]:
    """Held-out documents, evenly spread, without their last answer, to be completed greedily."""
    records: Any = open_source(source).records
    found = []
    for index in spread(len(records), number):
        document: Document = records[index]
        prompt = encode_prompt(document.messages[:-1], loaded.tokenizer, loaded.images)
        room = loaded.max_length - len(prompt.tokens)
        stop = stop_tokens(loaded.tokenizer)
        found.append(make_request(index, prompt, min(64, room), stop=stop))
    return found


def main() -> None:
    """Runs what is missing, prints the tables, writes the files asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--steps", type=int, default=0, help="0 = the config's")
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    parser.add_argument("--questions", type=int, default=24, help="of each source, for drafts")
    parser.add_argument("--json", type=Path, help="figures of every run, and the matrix")
    parser.add_argument("--markdown", type=Path, help="the tables")
    parser.add_argument("--plot", type=Path, help="folder for mmtp_*.png")
    args = parser.parse_args()
    console = Console()
    runs = plan([int(seed) for seed in args.seeds.split(",")], args.workdir, args.steps)
    ablations.run_all(runs, console, args.processes)
    compilation_cache.enable(None, str(args.workdir))
    serve_all(runs, console, args.questions)
    text = markdown(runs)
    console.print(Markdown(text))
    if args.json:
        found = {"figures": summarise(runs), "matrix": matrix(runs)}
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    if args.plot:
        args.plot.mkdir(parents=True, exist_ok=True)
        for name, figure in drawings(runs).items():
            figure.savefig(args.plot / f"mmtp_{name}.png", dpi=110)


if __name__ == "__main__":
    main()
