"""Rollouts side by side with Tunix, on one toy model.

    pip install -e '.[test,tunix]'
    python -m benchmarks.rl_tunix [--rounds=7] [--cases=0,1,2]

Both draw from the same 0.8M weights of Qwen3: 4 layers of width 128, 4 heads of 32 with 2 for keys,
MLP 384, 64 tokens, float32. A batch holds groups of samples with one prompt of 8 tokens; nothing
ends early. Rounds take turns, so that a machine's other work falls on both; compilation is not
timed. Ours is measured through `rl.rollout.local.LocalEngine`, one future for each sample, and
directly; Tunix's sampler with and without log probabilities, which ours always has. Seconds of a
core are those that the process was given, and say more where others use the machine.

`rl_tunix_train.py` trains both beside each other.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

from benchmarks import rl_tunix_toy as toy
from cogvit_jax.host_memory import keep_freed_memory
from cogvit_jax.models.vit import VisionSettings
from cogvit_jax.models.vit import build as build_vision
from mmtp.data.encoded import Encoded
from mmtp.generate import Engine, EngineSettings, make_request
from mmtp.models import vlm
from mmtp.models.decoder import DecoderSettings, resolve
from mmtp.models.mtp import MTPSettings
from mmtp.models.vlm import VLM
from rl.rollout import tunix_qwen3
from rl.rollout.local import LocalEngine, LocalSettings
from rl.rollout.protocol import Ask
from rl.rollout.tunix import Ids, make_sampler

VOCAB, PROMPT = toy.VOCAB, 8
CASES = ((32, 32, 8), (128, 64, 8), (128, 64, 32))  # samples, tokens, size of a group


def our_model() -> VLM:
    """Of the shape above; a tower that no text looks at."""
    vision = VisionSettings(
        size="tiny", width=16, depth=1, num_heads=2, mlp_dim=32, patch_size=4, dtype="float32"
    )
    return VLM(
        vision=build_vision(vision),
        decoder=resolve(DecoderSettings(size="tiny", **toy.DECODER)),
        mtp=MTPSettings(depth=0),
        image_token=VOCAB - 1,
        patch_dim=48,
    )


def our_asks(num: int, tokens: int, group: int, seed: int) -> list[Ask]:
    """`num` samples in groups that share a prompt."""
    prompts = prompt_ids(num // group)
    return [
        Ask(f"{i}#{j}", 0, 0, encoded(ids), f"{i}", tokens, temperature=1.0, seed=seed)
        for i, ids in enumerate(prompts)
        for j in range(group)
    ]


def encoded(ids: np.ndarray) -> Encoded:
    """A prompt of text alone."""
    return Encoded(ids, np.zeros(len(ids), np.bool_), (), 0, "toy")


def prompt_ids(num: int) -> np.ndarray:
    """`[num, 8]`: token 1, then any but the first three (padding, begin, end)."""
    ids = np.random.default_rng(0).integers(3, VOCAB - 1, (num, PROMPT)).astype(np.int32)
    ids[:, 0] = 1
    return ids


def our_engine(samples: int, tokens: int, params: Any) -> Engine:
    """With a row for every sample."""
    settings = EngineSettings(
        rows=samples,
        max_length=PROMPT + tokens,
        buckets=(PROMPT,),
        vision_length=4,
        num_stops=1,
        prefixes=16,
    )
    return Engine(our_model(), params, settings)


def tunix_sampler(tokens: int, params: Any) -> Any:
    """Tunix's own ("vanilla") sampler of our weights; its cache is as long as ours."""
    config = our_model().decoder
    model = tunix_qwen3.make_model(params, config)
    return make_sampler(model, PROMPT + tokens, config.depth, config.num_kv_heads, config.head_dim)


def measure_rollouts(rounds: int, cases: Sequence[tuple[int, int, int]]) -> None:
    """Prints tokens per second of every case and engine."""
    params = vlm.init(our_model(), jax.random.key(0))
    for samples, tokens, group in cases:
        runs = contestants(samples, tokens, group, params)
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, run in runs.items():
                start = time.perf_counter(), time.process_time()
                assert run(number) == samples * tokens
                if number:  # the first one compiles
                    now = time.perf_counter(), time.process_time()
                    spent[name].append((now[0] - start[0], now[1] - start[1]))
        print(f"{samples} samples of {tokens} tokens in groups of {group}; tokens per second")
        for name, times in spent.items():
            wall, cpu = (
                samples * tokens / statistics.median(column) for column in zip(*times, strict=True)
            )
            print(f"  {name:<26} {wall:8.0f} of time  {cpu:8.0f} of a core", flush=True)


def contestants(
    samples: int, tokens: int, group: int, params: Any
) -> dict[str, Callable[[int], int]]:
    """Name -> a function of the round that rolls out and counts tokens."""
    direct, own = (our_engine(samples, tokens, params) for _ in range(2))
    sampler = tunix_sampler(tokens, params)
    strings = [Ids().decode(ids.tolist()) for ids in prompt_ids(samples // group)]
    strings = [text for text in strings for _ in range(group)]

    def ours(number: int) -> int:
        asks = our_asks(samples, tokens, group, number)
        made = [
            make_request(i, a.prompt, tokens, temperature=1.0, seed=number)
            for i, a in enumerate(asks)
        ]
        return sum(len(c.tokens) for c in direct.generate(made))

    def local(number: int) -> int:
        async def run() -> int:
            engine = LocalEngine(own, LocalSettings(steps=8))
            asks = our_asks(samples, tokens, group, number)
            told = await asyncio.gather(*map(engine.generate, asks))
            await engine.close()
            return sum(len(t.tokens) for t in told)

        return asyncio.run(run())

    def theirs(number: int, logprobs: bool) -> int:
        out = sampler(
            strings,
            max_generation_steps=tokens,
            max_prompt_length=PROMPT,
            temperature=1.0,
            top_p=1.0,
            seed=number,
            return_logprobs=logprobs,
        )
        return sum(len(t) for t in out.tokens)

    return {
        "ours": ours,
        "ours, LocalEngine": local,
        "Tunix, log probabilities": lambda number: theirs(number, True),
        "Tunix": lambda number: theirs(number, False),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", default="0,1,2", help="which of CASES")
    args = parser.parse_args()
    versions = {name: metadata.version(name) for name in ("jax", "flax", "google-tunix")}
    print(", ".join(f"{name} {number}" for name, number in versions.items()))
    keep_freed_memory()
    measure_rollouts(args.rounds, [CASES[int(i)] for i in args.cases.split(",")])


if __name__ == "__main__":
    main()
