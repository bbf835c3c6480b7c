"""Muon or AdamW for the matrices?

    python -m benchmarks.ablations --ablation=optimizer

or one run:

    python -m cogvit_jax.main --config=configs/ablations/optimizer.py:muon --workdir=runs/muon

The other is `adamw`. Both have the rate that suits AdamW best of four.

Look at: both teachers' losses, which can be compared, and the probes.
"""

from ml_collections import ConfigDict

from configs.ablations import base

ADAMW = {"optim.algorithm_rules": ((".*", "adamw"),)}
# Losses (both teachers, seed 0, mean over the last quarter of 200 steps) by rate: AdamW 4e-3 0.615,
# 8e-3 0.570, 1.6e-2 0.547, 3.2e-2 0.557; Muon 4e-3 0.654, 1.6e-2 0.484, 5e-2 0.468. AdamW has its
# best here, Muon the base setting's, which is not quite its best.
VARIANTS = {"muon": base.rates(1.6e-2), "adamw": ADAMW | base.rates(1.6e-2)}


def get_config(arg: str | None = None) -> ConfigDict:
    return base.make(arg, VARIANTS)
