"""How should teachers' features be normalised before they are predicted?

    python -m benchmarks.ablations --ablation=normalization

or one run:

    python -m cogvit_jax.main --config=configs/ablations/normalization.py:phi_s --workdir=runs/phi_s

The others are `ema_std` (configs/stage1.py), `layer_norm`, `none`.

Look at: the probes. The same error has another size, and another direction, in each space, so that
neither losses nor cosines can be compared. In `none` the teacher with the larger features has most
of the smooth L1 loss.
"""

from ml_collections import ConfigDict

from configs.ablations import base

VARIANTS = {
    kind: {f"teachers.{name}.normalize": kind for name in ("semantic", "texture")}
    for kind in ("ema_std", "phi_s", "layer_norm", "none")
}


def get_config(arg: str | None = None) -> ConfigDict:
    return base.make(arg, VARIANTS)
