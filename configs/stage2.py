"""Stage 2: CogViT-L (403M) + text tower, sigmoid loss over 65,536 pairs, NaFlex, Muon.

    python -m cogvit_jax.main --config=configs/stage2.py --workdir=runs/stage2 \
        --config.data.train="webdataset:/data/pairs/{00000..99999}.tar" \
        --config.data.tokenizer=/data/gemma/tokenizer.model

Hardware: a TPU pod slice (v5e-256 or larger); one pass over 8 billion pairs is 122,070 steps.
The report reaches 83.5% zero-shot on ImageNet with its own corpus; nobody has yet run this config.

    python -m cogvit_jax.main --config=configs/stage2.py:tiny --workdir=runs/tiny

Hardware: 2 CPU cores, about 3 minutes; zero-shot top-1 on held-out digits above 0.90 in English and
in Chinese. `:smoke` takes two steps of the same code for the tests.
"""

from ml_collections import ConfigDict

from configs.common import (
    FSDP,
    REPLICATED,
    TWO_TOWER_GROUPS,
    check_variant,
    group,
    muon,
    pod_mesh,
)


def get_config(arg: str | None = None) -> ConfigDict:
    variant = check_variant(arg, ("tiny", "smoke"))
    config = full()
    if variant:
        tiny(config)
    if variant == "smoke":
        smoke(config)
    return config.lock()


def full() -> ConfigDict:
    """The pod run."""
    config = ConfigDict()
    config.program = "stage2"
    config.seed = 0
    config.embed_dim = 1152  # SigLIP2 So400m's width, arXiv:2502.14786

    config.mesh = pod_mesh(FSDP)

    config.vision = ConfigDict()
    config.vision.size = "L"  # 403,024,896 parameters in the blocks, as released in GLM-OCR
    config.vision.width = 0
    config.vision.depth = 0
    config.vision.num_heads = 0
    config.vision.mlp_dim = 0
    config.vision.patch_size = 14
    config.vision.rope_theta = 1e4
    config.vision.qk_norm = True  # report §2.1
    config.vision.swiglu_limit = 0.0  # GLM-5.3-Flash's tower has 10
    config.vision.attention = "auto"
    config.vision.pixel_mean = (0.5, 0.5, 0.5)  # SigLIP2
    config.vision.pixel_std = (0.5, 0.5, 0.5)
    config.vision.dtype = "bfloat16"
    config.vision.remat = "norms"  # benchmarks/step_search.py
    config.vision.scan_unroll = 1

    config.text = ConfigDict()
    config.text.size = "L"  # SigLIP2 pairs towers of equal width; the report does not say
    config.text.width = 0
    config.text.depth = 0
    config.text.num_heads = 0
    config.text.mlp_dim = 0
    config.text.vocab_size = 256_000  # Gemma's, as SigLIP2; rows beyond the tokenizer's idle
    config.text.attend_padding = False  # packed captions see themselves only
    config.text.qk_norm = True
    config.text.attention = "auto"
    config.text.dtype = "bfloat16"
    config.text.remat = "full"
    config.text.scan_unroll = 1

    config.loss = ConfigDict()
    config.loss.method = "auto"  # report §2.1: bidirectional; which form depends on the chip
    config.loss.chunk_size = 0  # 256 images per chip at 64K on 256 chips: one tile
    config.loss.init_scale = 10.0  # SigLIP, arXiv:2303.15343
    config.loss.init_bias = -10.0
    config.loss.positives = "concept"

    config.optim = ConfigDict()
    config.optim.groups = ConfigDict()
    # Peak rates are proposals: the report gives the scheme, not the numbers. Muon's updates are
    # scaled to AdamW's size, so SigLIP2's AdamW rate of 1e-3 is the anchor; the vision tower,
    # which comes from stage 1, gets less. Warm-up of 20k steps: SigLIP2, arXiv:2502.14786.
    config.optim.groups.vision = group(lr=3e-4, weight_decay=0.1, warmup_steps=20_000)
    config.optim.groups.text = group(lr=1e-3, weight_decay=0.1, warmup_steps=20_000)
    config.optim.groups.projection = group(lr=1e-3, weight_decay=0.0, warmup_steps=20_000)
    config.optim.group_rules = TWO_TOWER_GROUPS
    config.optim.clip_norm = 1.0  # SigLIP, big_vision's siglip_lit_coco.py
    muon(config.optim)
    config.optim.adam_b1 = 0.9
    config.optim.adam_b2 = 0.95  # SigLIP, arXiv:2303.15343
    config.optim.adam_eps = 1e-8

    config.data = ConfigDict()
    config.data.train = ""  # your corpus; cogvit_jax/data/sources.py lists the forms
    config.data.heldout = ""
    config.data.tokenizer = ""  # SigLIP2's is Gemma's 256k SentencePiece model
    config.data.text_length = 64  # SigLIP2
    # 256 captions per chip in 23 rows of 512, planned for rewritten captions of 46 tokens in the
    # mean: 1.0% of the tokens are padding, 0.7% of the captions' are cut; padded, 28% are padding.
    # Alt-text has a mean of about 17: set 17.0 and rows of 256. For the mean of your own captions:
    # `python -m benchmarks.packing --source=SPEC --tokenizer=FILE`; data/text_cut in the log tells
    # whether it was set too low.
    config.data.text_layout = "packed"
    config.data.text_row_length = 512
    config.data.text_budget = 46.0
    config.data.global_batch = 65_536  # report §2.1
    # SigLIP2's range of NaFlex budgets. In equal shares their mean would be 554 tokens; these 16
    # have 256, the cost of 224-pixel squares, and 65,536 per chip at 256 images per chip. They
    # fill four rows of 1024 exactly, and so does each of up to 16 microbatches. Long ones are
    # rare, so that 1024 tokens take no more of the compute than 128 or 256 do. Waste 2.8%, all of
    # it from whole patches (benchmarks/packing.py); padded to 1024 it would be 76%.
    config.data.lengths = (1024, 576, 192) + 5 * (256,) + 8 * (128,)
    config.data.layout = "packed"
    config.data.row_length = 1024
    config.data.stretch = 0.0
    config.data.eval_length = 256
    config.data.crop_scale = (1.0, 1.0)
    config.data.flip = False
    config.data.num_workers = 16
    config.data.read_threads = 4
    config.data.prefetch = 2
    config.data.max_corrupt = 10_000

    config.train = ConfigDict()
    config.train.steps = 122_070  # 8 billion pairs, report §2.1
    config.train.log_every = 50
    config.train.eval_every = 5000
    config.train.eval_start = False
    config.train.save_every = 1000
    config.train.keep_last = 2
    config.train.keep_every = 10_000
    config.train.microbatches = 4  # of images; exact
    config.train.tpu_compiler_options = (("xla_tpu_scoped_vmem_limit_kib", "65536"),)
    config.train.nonfinite = "skip"
    config.train.max_skips = 20
    config.train.profile_start = 0
    config.train.profile_stop = 0
    # Workdir of a stage 1 run: its encoder is where this one begins, all else begins afresh.
    config.train.init_from = ""
    config.train.init_rules = (("^vision/", "vision/"), (".*", ""))

    config.evals = ConfigDict()
    config.evals.batch_size = 4096
    config.evals.zero_shot = True
    config.evals.retrieval = True
    config.evals.gallery = 24
    config.evals.gallery_captions = 3
    config.evals.attention = True
    return config


def tiny(config: ConfigDict) -> None:
    """A laptop run that really learns: handwritten digits and photographs, from scratch."""
    config.embed_dim = 128
    config.mesh.fsdp = 1
    config.mesh.rules = REPLICATED
    for tower in (config.vision, config.text):
        tower.size = "tiny"
        tower.dtype = "float32"
        tower.remat = "none"
        tower.scan_unroll = 4
    config.loss.init_bias = -5.0  # about -log of the batch size
    config.optim.muon_dtype = "float32"
    for name in ("vision", "text", "projection"):
        config.optim.groups[name].lr = 4e-3  # short run, small model
        config.optim.groups[name].warmup_steps = 30
    config.data.train = "embedded:digits/train@0.75,embedded:photos/train@0.25"
    config.data.heldout = "embedded:digits/heldout,embedded:photos/heldout"
    config.text.vocab_size = 0
    config.text.attend_padding = True
    config.data.text_length = 32
    config.data.text_layout = "padded"
    config.data.text_row_length = 0
    config.data.text_budget = 0.0
    config.data.global_batch = 128
    config.data.lengths = (16, 25)
    config.data.layout = "padded"
    config.data.row_length = 0
    config.data.eval_length = 16
    config.data.crop_scale = (0.6, 1.0)
    config.data.num_workers = 0
    config.data.max_corrupt = 10
    config.train.microbatches = 1
    config.train.steps = 400
    config.train.log_every = 20
    config.train.eval_every = 50
    config.train.save_every = 200
    config.train.keep_every = 0
    config.train.nonfinite = "stop"
    config.train.max_skips = 0
    config.evals.batch_size = 256


def smoke(config: ConfigDict) -> None:
    """Two steps of `tiny` on a model as small as can be."""
    for tower in (config.vision, config.text):
        tower.width, tower.depth, tower.num_heads, tower.mlp_dim = 16, 2, 2, 32
        tower.scan_unroll = 1
    config.embed_dim = 16
    config.data.global_batch = 16
    config.data.lengths = (4, 9)
    config.data.eval_length = 4
    config.data.heldout = "embedded:photos/heldout"
    for name in ("vision", "text", "projection"):
        config.optim.groups[name].warmup_steps = 1
    config.train.steps = 2
    config.train.log_every = 1
    config.train.eval_every = 2
    config.train.save_every = 2
    config.evals.batch_size = 16
    config.evals.gallery = 6
