"""Does QK-Norm hold attention logits where the learning rate is high?

    python -m benchmarks.ablations --ablation=qk_norm

or one run:

    python -m cogvit_jax.main --config=configs/ablations/qk_norm.py:off --workdir=runs/off

The other is `on`.

Look at: "max logit", the largest attention logit of all layers and heads on held-out pictures, over
the steps; then the losses.
"""

from ml_collections import ConfigDict

from configs.ablations import base

# Three times the base setting's rate: without QK-Norm the largest logit passes 100 there.
COMMON = base.rates(5e-2) | {"train.eval_every": 25}
VARIANTS = {name: COMMON | {"vision.qk_norm": name == "on"} for name in ("on", "off")}


def get_config(arg: str | None = None) -> ConfigDict:
    return base.make(arg, VARIANTS)
