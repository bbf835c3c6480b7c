"""Prompted classification of real photographs after a few minutes of training from scratch.

    python -m benchmarks.real_photos DIR --minutes=7

DIR holds `train/` and `test/`, each with pictures and a captions.jsonl whose records have a label
and one caption per language. Trains stage 2 on train/ with as many steps as fit the time (start-up,
compilation and a speed test included), then reports top-1 on test/ in every language. The captions
name the classes, so this is prompted classification of seen classes, not zero-shot transfer.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from rich.console import Console

from cogvit_jax import evaluate, run_dir, train_loop
from cogvit_jax.host_memory import keep_freed_memory
from cogvit_jax.programs import build
from configs import stage2

SPEED_STEPS = 30


def main() -> None:
    """Prepares the folders, measures the speed, trains, evaluates."""
    began = time.perf_counter()
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="0 = as many as fit the time")
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        for split in ("train", args.split):
            link_folder(args.dir / split, Path(scratch) / split)
        config = make_config(scratch, args.split, args.seed)
        steps = args.steps or measure(config, f"{scratch}/speed", args.minutes, began, console)
        config = make_config(scratch, args.split, args.seed)
        config.train.steps = steps
        train(config, f"{scratch}/run", console)
        trained = time.perf_counter() - began
        accuracy = evaluate.evaluate(f"{scratch}/run", None, console)
    result = {k.rpartition("/")[2]: round(v, 4) for k, v in accuracy.items() if "zero_shot" in k}
    print(json.dumps({"accuracy": result, "minutes": round(trained / 60, 2), "steps": steps}))


def make_config(scratch: str, split: str, seed: int):
    """Stage 2 on photographs, for a laptop."""
    config = stage2.get_config("tiny").unlock()
    config.seed = seed
    config.data.train = f"folder:{scratch}/train"
    config.data.heldout = f"folder:{scratch}/{split}"
    config.data.lengths = (64,)
    config.data.eval_length = 64
    config.data.crop_scale = (0.35, 1.0)
    config.data.flip = True
    config.data.text_length = 16
    config.train.log_every = 50
    config.train.eval_every = 0
    config.train.save_every = 10**9
    config.evals.retrieval = config.evals.attention = False
    config.evals.gallery = 0
    return config


def measure(config, workdir: str, minutes: float, began: float, console: Console) -> int:
    """How many steps fit what is left of the time, at the speed measured now."""
    config.train.steps = SPEED_STEPS
    config.train.log_every = 10
    for group in config.optim.groups.values():
        group.warmup_steps = 1
    start = time.perf_counter()
    train(config, workdir, console)
    took = time.perf_counter() - start
    lines = [json.loads(x) for x in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    step_seconds = min(x["time/step_seconds"] for x in lines)
    startup = took - SPEED_STEPS * step_seconds
    left = minutes * 60 - (time.perf_counter() - began) - startup
    return max(int(0.95 * left / step_seconds), SPEED_STEPS)


def train(config, workdir: str, console: Console) -> None:
    """The main program, in process."""
    Path(workdir).mkdir(parents=True)
    run_dir.save_config(config, workdir, console)
    train_loop.run(build(config), config, workdir, console)


def link_folder(source: Path, target: Path) -> None:
    """A folder of links whose labels are prompts, and in which a label's captions are alike."""
    target.mkdir()
    text = (source / "captions.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    prompts = {r["label"]: {c["lang"]: c["text"] for c in r["captions"]} for r in records}
    labels = sorted(prompts)
    classes = {lang: [prompts[n][lang] for n in labels] for lang in sorted(prompts[labels[0]])}
    templates = {lang: ["{}"] for lang in classes}
    (target / "classes.json").write_text(json.dumps({"classes": classes, "templates": templates}))
    with (target / "captions.jsonl").open("w", encoding="utf-8") as file:
        for record in records:
            (target / record["image"]).symlink_to((source / record["image"]).resolve())
            label = prompts[record["label"]]["en"]
            record |= {"label": label, "concept": label}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
