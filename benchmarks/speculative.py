"""Seconds per token of plain and of speculative decoding with one model, and the same output.

    python -m benchmarks.speculative --checkpoint=RUN_DIR [--tasks=ocr/heldout] [--num_draft=0,1,2]

Every number of drafts answers the same held-out questions greedily; answers must be the same as
without drafts. Compilation is left out (a first round is not timed), and rounds alternate between
the settings, so that a machine's other work falls on all of them; medians are shown.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmtp.data.documents import encode_prompt, stop_tokens
from mmtp.data.records import CATEGORIES, Document
from mmtp.data.tasks import open_tasks
from mmtp.evals import acceptance
from mmtp.generate import Completion, Engine, EngineSettings, Request, make_request
from mmtp.run import Loaded, load


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--tasks", default="ocr/heldout")
    parser.add_argument("--num_draft", default="0,1,2")
    parser.add_argument("--num_questions", type=int, default=32)
    parser.add_argument("--max_tokens", type=int, default=64)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draw", help="a PNG of acceptance lengths with the most drafts")
    parser.add_argument("--json", help="write the rows to this file too")
    args = parser.parse_args()
    loaded = load(args.checkpoint)
    source = open_tasks(args.tasks)
    documents: list[Any] = [
        source.records[i] for i in range(min(args.num_questions, len(source.records)))
    ]
    requests = [ask(loaded, i, d, args.max_tokens) for i, d in enumerate(documents)]
    choices = [int(n) for n in args.num_draft.split(",")]
    engines = {
        n: Engine(loaded.model, loaded.params, settings(loaded, args.rows, n)) for n in choices
    }
    seconds, completions = measure(engines, requests, args.rounds)
    rows = [row(n, seconds, completions, requests, choices[0]) for n in choices]
    for figures in rows:
        print("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    if args.draw:
        drawn = acceptance.draw(acceptance.generated(requests, completions[choices[-1]]))
        Image.fromarray(drawn).save(args.draw)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


def ask(loaded: Loaded, number: int, document: Document, max_tokens: int) -> Request:
    """A document's first question as a request of the document's category."""
    end = next((i for i, m in enumerate(document.messages) if m.role == "assistant"), None)
    prompt = encode_prompt(document.messages[:end], loaded.tokenizer, loaded.images, loaded.chat)
    category = CATEGORIES.index(document.category)
    prompt = type(prompt)(prompt.tokens, prompt.supervised, prompt.visuals, category, document.id)
    return make_request(number, prompt, max_tokens, stop=stop_tokens(loaded.tokenizer))


def settings(loaded: Loaded, rows: int, num_draft: int) -> EngineSettings:
    """Of an engine with `num_draft` drafts per step."""
    return EngineSettings(
        rows=rows,
        max_length=loaded.max_length,
        buckets=(64, 128, 256, 512),
        vision_length=loaded.vision_length,
        num_draft=num_draft,
    )


def measure(
    engines: dict[int, Engine], requests: Sequence[Request], rounds: int
) -> tuple[dict[int, list[float]], dict[int, list[Completion]]]:
    """Seconds of every round, and the completions, by number of drafts."""
    completions = {n: engine.generate(requests) for n, engine in engines.items()}
    seconds: dict[int, list[float]] = {n: [] for n in engines}
    for _ in range(rounds):
        for n, engine in engines.items():
            start = time.perf_counter()
            engine.generate(requests)
            seconds[n].append(time.perf_counter() - start)
    return seconds, completions


def row(
    num_draft: int,
    seconds: dict[int, list[float]],
    completions: dict[int, list[Completion]],
    requests: Sequence[Request],
    plain: int,
) -> dict[str, float]:
    """Figures of one number of drafts; `speedup` is over `plain`, round by round."""
    found = completions[num_draft]
    tokens = sum(len(c.tokens) for c in found)
    pairs = zip(found, completions[plain], strict=True)
    same = [np.array_equal(ours.tokens, theirs.tokens) for ours, theirs in pairs]
    ratios = [p / s for p, s in zip(seconds[plain], seconds[num_draft], strict=True)]
    figures = acceptance.summarise(acceptance.generated(requests, found))
    return {
        "drafts": num_draft,
        "tokens": tokens,
        "tokens_per_second": tokens / statistics.median(seconds[num_draft]),
        "speedup": statistics.median(ratios),
        "equal_answers": float(np.mean(same)),
        "acceptance_length": figures.get("length", 1.0),
    }


if __name__ == "__main__":
    main()
