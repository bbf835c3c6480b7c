"""What all ablations of stage 1 share: `configs/stage1.py:tiny`, smaller and shorter.

A run takes about half a minute on one CPU core, so that every variant can be run with several
seeds. Data, teachers and loss are those of `tiny`: the semantic teacher is the same tower, trained
once and found again by all runs.
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

from configs import stage1
from configs.common import check_variant

SMOKE = ":smoke"


def make(arg: str | None, variants: Mapping[str, Mapping[str, object]]) -> ConfigDict:
    """The small setting with a variant's fields.

    Args:
        arg: what follows the colon of --config: a key of `variants`, or that and ":smoke" for two
            steps of it.
        variants: name -> {"section.field": value}.
    """
    name = (arg or "").removesuffix(SMOKE)
    check_variant(name or "''", tuple(variants))
    config = small()
    config.update_from_flattened_dict(dict(variants[name]))
    if arg != name:
        smoke(config)
    return config.lock()


def rates(lr: float) -> dict[str, object]:
    """One learning rate for the encoder and the heads."""
    return {f"optim.groups.{name}.lr": lr for name in ("vision", "heads")}


def small() -> ConfigDict:
    """Half of `tiny`'s width, a quarter of its batch, a third of its steps."""
    config = stage1.get_config("tiny").unlock()
    config.vision.width = 64
    config.vision.depth = 4
    config.vision.num_heads = 2
    config.vision.mlp_dim = 192
    config.teachers.texture.weight = 1.0
    config.data.global_batch = 32
    config.update_from_flattened_dict(rates(1.6e-2))  # see optimizer.py
    config.train.steps = 200
    config.train.log_every = 5
    config.train.eval_every = 50
    config.train.save_every = 200
    # Probes that cost about a second. Segmentation is left out: on 5 x 5 patches a linear
    # classifier of 80 or 300 scenes names everything background, whatever the features.
    config.evals.linear_probe = False
    config.evals.segmentation = ()
    config.evals.feature_maps = 0
    config.evals.reconstruction = 0
    return config


def smoke(config: ConfigDict) -> None:
    """Two steps of the smallest student, beside the smallest teacher."""
    smallest = stage1.get_config("smoke")
    config.tower = smallest.tower
    config.vision.width, config.vision.num_heads, config.vision.mlp_dim = 16, 2, 32
    config.vision.depth, config.vision.scan_unroll = 2, 1
    config.data.global_batch = 16
    config.loss.calibration_batches = 2
    for module in config.optim.groups.values():
        module.warmup_steps = 1
    config.train.steps = 2
    config.train.log_every = 1
    config.train.eval_every = 2
    config.train.save_every = 2
