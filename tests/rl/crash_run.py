"""A whole run but for the model: driver, schedule, log, curriculum, and a trainer that only counts.

    python -m tests.rl.crash_run FOLDER STEPS STALENESS

The engine's words are a function of sample and turn, as those of the real one are. Each step's
batch is written to FOLDER/steps.jsonl, and the run is saved after every step, as checkpoints are.
"""

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mmtp.data.chat import ChatSettings
from mmtp.data.images import ImageSettings
from mmtp.data.tokenizer import load_tokenizer
from rl.envs import CATEGORIES
from rl.envs.environment import judge
from rl.programs.rl_tasks import Tasks
from rl.prompts import Encoder
from rl.rollout.protocol import Told, aborted
from rl.rollout.sampling import SamplingSettings
from rl.rollout.schedule_settings import RolloutSettings
from tests.rl.bare_run import bare_parts, bare_run

IMAGES = ImageSettings(patch_size=14, min_patches=4, max_patches=96)
CONFIG = SimpleNamespace(
    seed=3,
    tasks={"categories": ("maze", "counting", "attributes")},
    curriculum={"difficulties": (0,), "chinese": 0.0, "window": 12},
)
CHOICES = ("1", "2", "left", "up", "right", "down", "red", "circle")


class Engine:
    """Says one of CHOICES, a token each few milliseconds."""

    version = 0

    def __init__(self, tokenizer, version):
        self._tokenizer, self.version = tokenizer, version
        self._aborted = set()

    async def generate(self, ask):
        digest = hashlib.sha256(f"{ask.sample}/{ask.turn}".encode()).digest()
        text = CHOICES[digest[0] % len(CHOICES)] + " " * (digest[1] % 4)
        tokens = [*self._tokenizer.encode(text), ask.stop[0]]
        done = 0 if ask.done is None else len(ask.done.tokens)
        versions = [] if ask.done is None else list(ask.done.versions)
        while done < len(tokens):
            await asyncio.sleep(digest[2] / 256 * 0.004)
            if ask.sample in self._aborted:
                self._aborted.discard(ask.sample)
                return aborted(ask)
            versions.append(self.version)
            done += 1
        numbers = tuple(-0.25 for _ in tokens)
        name = (ask.sample, ask.turn, ask.attempt)
        return Told(*name, tuple(tokens), numbers, numbers, tuple(versions), "stop")

    def abort(self, samples):
        self._aborted |= set(samples)

    async def publish(self, version, params):
        self.version = version

    def stats(self):
        return {}

    async def close(self):
        pass


def make_run(folder, steps, staleness):
    """The run; its log is in the folder."""
    tokenizer = load_tokenizer("")
    encoder = Encoder(tokenizer, IMAGES, ChatSettings())
    sampling = SamplingSettings(max_new_tokens=16, max_length=256, stop=encoder.stop)

    def parts(saved):
        tasks = Tasks(CONFIG, saved)

        async def reward(rollout):
            await asyncio.sleep(0.001)
            return await asyncio.to_thread(judge, CATEGORIES[rollout.task.category], rollout)

        def build(step, groups, episodes):
            samples = [(g, s) for g in groups for s in g.valid]
            rows = [episodes[s.id].row(1.0) for _, s in samples]
            return SimpleNamespace(
                step=step,
                cargo={},
                outline=None,
                figures={},
                ids=tuple(f"{g.id}/{s.id[0]}#{s.id[1]}" for g, s in samples),
                told=[
                    {
                        "group": g.id,
                        "pick": g.pick,
                        "sample": list(s.id),
                        "reward": s.reward,
                        "tokens": row.document.tokens[row.trained].tolist(),
                        "length": len(row.document.tokens),
                        "versions": sorted(set(row.versions[row.trained].tolist())),
                    }
                    for (g, s), row in zip(samples, rows, strict=True)
                ],
            )

        made = bare_parts(
            encoder,
            256,
            draw=tasks.draw,
            engine=lambda version, params: Engine(tokenizer, version),
            judge=reward,
            build=build,
            settled=lambda g: tasks.observe(
                g.pick, [s.reward for s in g.samples if s.reward is not None]
            ),
        )
        return made, lambda: tasks.state

    settings = RolloutSettings(
        group_size=3,
        batch_groups=4,
        max_staleness=staleness,
        concurrency=9,
        abort_seconds=0.05 if staleness > 1 else 0.0,
        num_steps=steps,
    )
    return bare_run(folder, settings, sampling, parts, seed=3)


def save(folder, step, state):
    """Whole or not at all, as a checkpoint is."""
    path = folder / "saved.json"
    partial_path = folder / "saved.partial"
    partial_path.write_text(json.dumps({"step": step, "state": state}))
    os.replace(partial_path, path)


def main(folder, steps, staleness):
    folder = Path(folder)
    path = folder / "saved.json"
    saved = json.loads(path.read_text()) if path.exists() else {"step": 0, "state": None}
    run = make_run(folder, steps, staleness)
    batches = run.batches(saved["state"])
    try:
        run.begin(SimpleNamespace(step=saved["step"], params={}))
        for step in range(saved["step"] + 1, steps + 1):
            next(batches)
            built = batches._built
            assert built.step == step - 1
            with (folder / "steps.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, "samples": built.told}) + "\n")
            run.hook(step, SimpleNamespace(params={}), {"loss": np.zeros(())})
            save(folder, step, batches.get_state())
    finally:
        run.close()
    (folder / "done").write_text("done")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
