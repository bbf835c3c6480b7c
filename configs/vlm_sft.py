"""Fine-tuning on conversations: the model of vlm_pretrain.py, loss on the assistant's words only.

    python -m mmtp.main --config=configs/vlm_sft.py --workdir=runs/vlm_sft \
        --config.train.init_from=runs/vlm --config.data.train="jsonl:/data/sft/*.jsonl" \
        --config.data.tokenizer=/data/glm/tokenizer.json

Hardware: a TPU pod slice (v5e-256). Nobody has yet run it.

    python -m mmtp.main --config=configs/vlm_sft.py:tiny --workdir=runs/vlm_sft_tiny \
        --config.train.init_from=runs/vlm_tiny

Hardware: 2 CPU cores, about 4 minutes. Then: python -m mmtp.chat --checkpoint=runs/vlm_sft_tiny

    python -m mmtp.main --config=configs/vlm_sft.py:gym --workdir=runs/vlm_gym \
        --config.train.init_from=runs/vlm_sft_tiny

goes on for a few minutes with right replies to the gym's easiest tasks, which
`python -m rl.gym demonstrate` has written: where configs/rl.py:tiny begins.
"""

from ml_collections import ConfigDict

from configs import vlm_pretrain
from configs.common import check_variant


def get_config(arg: str | None = None) -> ConfigDict:
    variant = check_variant(arg, ("tiny", "gym", "smoke"))
    config = full()
    if variant:
        tiny(config)
    if variant == "gym":
        gym(config)
    if variant == "smoke":
        smoke(config)
    return config.lock()


def full() -> ConfigDict:
    """The pod run; where the report gives no number, ours are proposals."""
    config = vlm_pretrain.full()
    config.data.supervise = "assistant"
    sft(config)
    return config


def sft(config: ConfigDict) -> None:
    """What fine-tuning changes."""
    for name in ("vision", "projector", "language"):
        config.optim.groups[name].lr /= 10
        config.optim.groups[name].warmup_steps //= 4
    config.mmtp.weight_start = config.mmtp.weight_end  # the schedule has ended
    config.train.steps = 6000
    config.train.init_rules = ((".*", r"\g<0>"),)


def tiny(config: ConfigDict) -> None:
    """Goes on from vlm_pretrain.py:tiny with the tasks whose answers are checked."""
    vlm_pretrain.tiny(config)
    config.data.supervise = "assistant"
    for name in ("vision", "projector", "language"):
        config.optim.groups[name].warmup_steps = 10
    config.train.steps = 350
    config.train.eval_every = 350
    config.mmtp.weight_steps = 0


def gym(config: ConfigDict) -> None:
    """Shows the model of `tiny` how the gym asks and is answered."""
    config.data.train = (
        "jsonl:runs/gym_demos.jsonl@0.94,tasks:digits/train@0.03,tasks:one_colour/train@0.03"
    )
    config.data.heldout = ""
    config.data.documents = 38  # longer than those of `tiny`: where there are more, small ones lose
    config.train.steps = 180  # no more: what is left to learn is for reinforcement learning
    config.train.eval_every = 0


def smoke(config: ConfigDict) -> None:
    """Two steps of `tiny` on a model as small as can be."""
    vlm_pretrain.smoke(config)
    config.train.init_from = ""
