"""How much of a picture should be hidden?

    python -m benchmarks.ablations --ablation=mask_ratio

or one run:

    python -m cogvit_jax.main --config=configs/ablations/mask_ratio.py:0.35 --workdir=runs/0.35

0.35 is the report's ratio; the others are 0.15, 0.55, 0.75.

Look at: the probes. Losses are of the masked patches: with more of them hidden the task is harder,
so that losses cannot be compared; with fewer, a step has fewer predictions to learn from.
"""

from ml_collections import ConfigDict

from configs.ablations import base

VARIANTS = {str(ratio): {"mask.ratio": ratio} for ratio in (0.15, 0.35, 0.55, 0.75)}


def get_config(arg: str | None = None) -> ConfigDict:
    return base.make(arg, VARIANTS)
