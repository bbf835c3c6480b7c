"""Reinforcement learning on the small setting of rl.py:tiny: what its design choices are worth.

    python -m benchmarks.rl_ablation --ask=staleness --init_from=runs/vlm_gym

or one run:

    python -m rl.main --config=configs/ablations/rl.py:partial --workdir=runs/partial \
        --config.train.init_from=runs/vlm_gym

`multi`, `single_NAME`: all six categories at once, or one; all runs are asked held-out tasks of
all six. `sync`, `async`, `partial`: versions that replies may be behind, 0, 1, or 2 with aborted
replies continued. `flat`, `hierarchy`: levels are drawn alike, or the higher ones more as those
below are learned. `reward`, `distill`, `mixed`: from rewards, from a teacher, or from both; the
latter two need `--config.teachers="('runs/multi',)"`.

`multi`, `async`, `flat` and `reward` are one and the same run, the base of every comparison;
`start` takes one step at a rate of 0, so that its held-out rewards are those that all begin with.
`:smoke` behind a name is two steps of the smallest model, from scratch.
"""

from ml_collections import ConfigDict

from configs import rl
from configs.common import check_variant

SMOKE = ":smoke"
BATCH = 18  # groups
VARIANTS = {
    "multi": {},
    **{f"single_{name}": {"tasks.categories": (name,)} for name in rl.TINY_CATEGORIES},
    "sync": {"rollout.max_staleness": 0},
    "async": {},
    "partial": {
        "rollout.max_staleness": 2,
        "rollout.abort_count": BATCH,
        "rollout.abort_seconds": 10.0,
    },
    "flat": {},
    "hierarchy": {
        "curriculum.level_mode": "mastery",
        "curriculum.levels": (("grounding", 0.2, 1.0), ("step", 0.1, 1.0)),
    },
    "reward": {},
    "distill": {
        "algorithm.preset": "distill",
        "algorithm.distill_weights": (1.0,),
        "algorithm.dynamic_sampling": False,  # equal rewards are no reason to drop a group
        "algorithm.proximal": "current",
    },
    "mixed": {"algorithm.distill_weights": (0.5,)},
    "start": {
        "train.steps": 1,
        **{f"optim.groups.{name}.lr": 0.0 for name in ("vision", "projector", "language")},
        **{f"optim.groups.{name}.warmup_steps": 0 for name in ("vision", "projector", "language")},
    },
}


def get_config(arg: str | None = None) -> ConfigDict:
    name = (arg or "").removesuffix(SMOKE)
    check_variant(name or "''", tuple(VARIANTS))
    config = small()
    if arg != name:
        rl.smoke(config)
    config.update_from_flattened_dict(dict(VARIANTS[name]))
    if arg != name and config.rollout.abort_count:
        config.rollout.abort_count = config.rollout.batch_groups
    return config.lock()


def small() -> ConfigDict:
    """Fewer steps and held-out tasks than `tiny`, and what the variants choose spelled out."""
    config = rl.get_config("tiny").unlock()
    config.algorithm.distill_weights = ()
    config.curriculum.levels = ()
    config.curriculum.mastery = (0.2, 0.5)
    config.curriculum.level_tasks = 20 * BATCH  # of level_mode "schedule"
    config.rollout.batch_groups = BATCH
    config.rollout.max_staleness = 1
    config.evals.categories = rl.TINY_CATEGORIES
    config.evals.tasks = 32
    config.evals.shown = 0
    config.train.steps = 40
    config.train.eval_every = 10
    config.train.save_every = 20
    return config
