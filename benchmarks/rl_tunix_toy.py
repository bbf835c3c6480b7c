"""What both sides of `benchmarks/rl_tunix*.py` share: a vocabulary, a model, a task, a config.

The task: a prompt names a digit, and the reply should be that digit again and again. The reward is
the share of the reply's tokens that are it, 1 where all are. Nothing ends a reply early, since
Tunix cuts the token that ends one off and would never train on it. With one digit there is a token
to find and nothing to read; with more the prompt matters.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from configs import rl as configs
from mmtp.data.records import Text
from mmtp.data.tokenizer import OPTIONAL, REQUIRED
from rl.envs.category import Category, Draw, Drawn, Replies
from rl.types import Json, Rollout, Task

VOCAB = 64
NEVER = VOCAB + 1  # a stop token that is no token
# `config.decoder` of Qwen3's conventions: 0.8M parameters.
DECODER: dict[str, Any] = {
    "width": 128,
    "depth": 4,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 32,
    "mlp_dim": 384,
    "vocab_size": VOCAB,
    "rope_theta": 1e6,  # of Tunix's Qwen3, whatever its config says
    "rotary_dim": 32,
    "mrope_sections": (6, 5, 5),
    "rope_interleaved": False,
    "sandwich_norms": False,
    "qkv_bias": False,
    "qk_norm": True,
    "tied": True,
    "norm_eps": 1e-6,
    "dtype": "float32",
    "remat": "none",
    "scan_unroll": 4,
}
NAME = "repeat_digit"
PROMPT = 7  # tokens of one
DIGITS = "0123456789"


def tokenizer_json() -> str:
    """A `tokenizer.json` of 64 tokens: GLM's special ones, a line's end, digits, letters."""
    special = [*REQUIRED, *OPTIONAL[3:6]]  # those of thoughts
    letters = [chr(i) for i in range(ord("A"), ord("z") + 1) if chr(i).isalpha()]
    words = ["\u010a", *DIGITS, *letters][: VOCAB - len(special)]
    added = [
        {
            "id": i,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, name in enumerate(special)
    ]
    bytes_alone = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    vocab = {name: i for i, name in enumerate([*special, *words])}
    model = {"type": "BPE", "vocab": vocab, "merges": []}
    whole = {"version": "1.0", "added_tokens": added, "pre_tokenizer": bytes_alone}
    return json.dumps(whole | {"decoder": bytes_alone, "model": model})


def share(text: str, reference: Mapping[str, Json], tokens: int) -> float:
    """Of a reply's tokens, those that are the digit; no special token's name has one."""
    return text.count(reference["digit"]) / tokens


def category(tokens: int, digits: int) -> Category:
    """Of replies of so many tokens, and one of the first `digits` digits."""

    def draw(context: Draw) -> Drawn:
        digit = DIGITS[context.rng.integers(digits)]
        return Drawn((Text(digit),), {"digit": digit})

    def score(task: Task, rollout: Rollout) -> float:
        return share(rollout.reply, task.reference, tokens)

    def oracle(task: Task) -> Replies:
        return (task.reference["digit"] * tokens,)

    def guess(task: Task, rng: np.random.Generator) -> Replies:
        return (DIGITS[rng.integers(digits)] * tokens,)

    return Category(
        name=NAME,
        group="instructions",
        level="step",
        benchmark="",
        scale="nothing",
        draw=draw,
        score=score,
        oracle=oracle,
        distractors=lambda task: [("",)],
        guess=guess,
    )


def config(
    folder: Path,
    *,
    tokens: int,
    group: int,
    groups: int,
    lr: float,
    steps: int,
    seed: int,
    depth: int = 4,
) -> ConfigDict:
    """`configs/rl.py:tiny` with that model and task, and GRPO as Tunix has it.

    Args:
        folder: where the tokenizer is written.
        tokens: of a reply.
        group, groups: samples of a prompt, and prompts of a batch.
        lr: of AdamW.
        steps: at most.
        seed: of weights, tasks and draws.
        depth: layers.
    """
    file = folder / "tokenizer.json"
    file.write_text(tokenizer_json())
    made = configs.get_config("tiny")
    made.unlock()
    made.seed = seed
    made.data.tokenizer = str(file)
    shape_model(made, depth)
    made.tasks.categories = (NAME,)
    made.fidelity.every = 0  # there are no pictures
    made.evals.tasks = 0
    made.algorithm = ConfigDict({"preset": "grpo", "kl_weight": 0.0, "dynamic_sampling": False})
    made.rollout.update(
        group_size=group, batch_groups=groups, max_staleness=0, concurrency=group * groups
    )
    made.sampling.max_new_tokens = tokens
    made.sampling.max_length = PROMPT + tokens
    made.sampling.stop = (NEVER,)
    made.engine.update(rows=group * groups, prefixes=groups, buckets=(PROMPT,), steps=tokens)
    made.packing.update(
        seq_len=PROMPT + tokens,
        rows=group * groups,
        vision_row_length=4,
        vision_rows=1,
        microbatches=1,
    )
    for name in ("vision", "projector", "language"):
        made.optim.groups[name] = ConfigDict({"lr": lr, "schedule": "constant"})
    made.optim.algorithm_rules = ((".*", "adamw"),)
    made.optim.clip_norm = 1.0
    made.train.update(steps=steps, eval_every=0, save_every=0)
    return made


def shape_model(made: ConfigDict, depth: int) -> None:
    """Qwen3's decoder; a tower that no text looks at, as small as can be."""
    made.decoder.update(DECODER | {"depth": depth, "scan_unroll": depth})
    made.vision.update(width=16, depth=1, num_heads=2, mlp_dim=32, scan_unroll=1)
    made.mmtp.depth = 0
