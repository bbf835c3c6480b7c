"""What should multi-token prediction be fed where a token is visual?

    python -m benchmarks.mmtp_ablation

or one run:

    python -m mmtp.main --config=configs/ablations/mmtp.py:image_token --workdir=runs/image_token

The arms: `visual` feeds the picture's own embeddings, `masked_keys` nothing, at places that no
other place attends to, `masked_zeros` zeros, `image_token` the one learnable embedding of
`<|image|>` (report §2.2), `image_token_frozen` the same without a gradient to it. Parameters, data
and products are the same in all of them.

    python -m cogvit_jax.describe --config=configs/ablations/mmtp.py:image_token:pod \\
        --topology=v5e:16x16

describes the same arm of the 0.5B run, `configs/vlm_pretrain.py`, on a pod; nobody has run it.

Look at: the acceptance lengths, then the losses of the heads, as differences between runs of one
seed. Input and output tables are apart, as in the released model: with one table the softmax would
move the embedding of `<|image|>` in every arm.
"""

from ml_collections import ConfigDict

from configs import vlm_pretrain
from configs.common import check_variant

VARIANTS = {
    "visual": {"mmtp.visual_input": "visual"},
    "masked_keys": {"mmtp.visual_input": "masked", "mmtp.masked": "keys"},
    "masked_zeros": {"mmtp.visual_input": "masked", "mmtp.masked": "zeros"},
    "image_token": {"mmtp.visual_input": "image_token"},
    "image_token_frozen": {"mmtp.visual_input": "image_token_frozen"},
}
SETTINGS = ("smoke", "pod")


def get_config(arg: str | None = None) -> ConfigDict:
    name, _, setting = (arg or "").partition(":")
    check_variant(name or "''", tuple(VARIANTS))
    if setting or name != (arg or ""):
        check_variant(setting or "''", SETTINGS)
    config = vlm_pretrain.full() if setting == "pod" else small()
    if setting == "smoke":
        smoke(config)
    config.update_from_flattened_dict(dict(VARIANTS[name]))
    return config.lock()


def small() -> ConfigDict:
    """A model of 1.8M parameters that reads documents with pictures, a minute on one core."""
    config = vlm_pretrain.get_config("tiny").unlock()
    config.vision.width, config.vision.depth = 64, 2
    config.vision.num_heads, config.vision.mlp_dim = 2, 192
    config.vision.scan_unroll = 2
    config.decoder.width, config.decoder.depth, config.decoder.mlp_dim = 128, 3, 320
    config.decoder.num_heads, config.decoder.num_kv_heads = 4, 2
    config.decoder.scan_unroll = 3
    config.decoder.tied = False
    config.mmtp.depth = 2
    config.mmtp.weight_end = 0.3  # one weight throughout
    # Answers of several tokens, for which pictures must be looked at.
    config.data.train = (
        "tasks:grounding/train@0.4,tasks:svg_from_picture/train@0.25,"
        "tasks:html_from_picture/train@0.2,tasks:captions/train@0.15"
    )
    config.data.heldout = "tasks:grounding/heldout,tasks:svg_from_picture/heldout"
    config.data.seq_len = 128
    config.data.rows = 8
    config.data.documents = 17
    config.data.vision_row_length = 96
    config.data.vision_rows = 6
    config.train.steps = 200
    config.train.log_every = 1  # spikes and tails are of single steps
    config.train.eval_every = 200
    config.train.save_every = 200
    config.evals.documents = 48
    config.evals.answers = 0
    config.evals.interference = True
    return config


def smoke(config: ConfigDict) -> None:
    """Two steps of the smallest model."""
    vlm_pretrain.smoke(config)
    config.evals.answers = config.evals.acceptance = 0
