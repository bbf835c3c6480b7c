"""Do two teachers teach more than either alone?

    python -m benchmarks.ablations --ablation=teachers

or one run:

    python -m cogvit_jax.main --config=configs/ablations/teachers.py:both --workdir=runs/both

`semantic` is the tower alone, `texture` HOG alone.

Look at: the probes. kNN, which asks for classes, is expected to follow the semantic teacher, and
correspondence, which asks for places, the texture teacher. A teacher's loss is there only where it
teaches; the two are not comparable with each other.
"""

from ml_collections import ConfigDict

from configs.ablations import base

VARIANTS = {
    "both": {},
    "semantic": {"teachers.texture.weight": 0.0},
    "texture": {"teachers.semantic.weight": 0.0},
}


def get_config(arg: str | None = None) -> ConfigDict:
    return base.make(arg, VARIANTS)
