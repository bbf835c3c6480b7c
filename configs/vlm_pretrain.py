"""Pretraining of a vision-language model: CogViT-L, a GLM decoder of 0.5B, one MMTP layer.

    python -m mmtp.main --config=configs/vlm_pretrain.py --workdir=runs/vlm \
        --config.data.train="webdataset:/data/vlm/*.tar@0.7,jsonl:/data/text/*.jsonl@0.3" \
        --config.data.tokenizer=/data/glm/tokenizer.json --config.train.init_from=runs/stage2

Hardware: a TPU pod slice (v5e-256). Nobody has yet run it. The decoder is that of the released
GLM-OCR: 16 layers of width 1536, 490.8M parameters in the layers.

    python -m mmtp.main --config=configs/vlm_pretrain.py:tiny --workdir=runs/vlm_tiny

Hardware: 2 CPU cores, about 5 minutes, everything from scratch on generated documents of the
report's ten categories. configs/vlm_sft.py:tiny goes on from the result. `:smoke` takes two steps
of the same code for the tests.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import stage2
from configs.common import (
    DECODER_FSDP,
    DECODER_PIPELINE,
    MUON_LANGUAGE,
    VLM_GROUPS,
    check_variant,
    decoder,
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
    """The pod run. Where the report gives no number, the comment names the source of ours."""
    config = ConfigDict()
    config.program = "vlm"
    config.seed = 0

    # 588 numbers of a patch do not divide by 16.
    config.mesh = pod_mesh(((r"patch_embedding/kernel$", (None, "fsdp")), *DECODER_FSDP))
    config.mesh.stage = 1
    config.mesh.context = 1
    config.pipeline = ConfigDict({"microbatches": 1, "repeats": 1})  # where mesh.stage > 1
    config.attention = "auto"  # of the decoder; mmtp/programs/vlm.py

    config.vision = stage2.full().vision
    config.vision_memory = ConfigDict()
    config.vision_memory.chunk_rows = 1
    config.vision_memory.offload = ()
    config.vision_memory.offload_min_bytes = 1 << 20
    config.vision_memory.offload_fraction = 1.0

    config.decoder = decoder("glm_0p5b")

    config.mmtp = ConfigDict()
    config.mmtp.depth = 1  # GLM-OCR: num_nextn_predict_layers = 1
    config.mmtp.shared = False
    config.mmtp.visual_input = "image_token"  # report §2.2
    config.mmtp.masked = "keys"
    config.mmtp.image_embed = "table"
    config.mmtp.conventions = "glm"
    for flag in ("concat", "hidden", "chain", "position"):
        config.mmtp[flag] = placeholder(str)
    config.mmtp.own_norm = placeholder(bool)
    config.mmtp.zero_first = placeholder(bool)
    config.mmtp.detach = "none"
    config.mmtp.path_mask = False
    config.mmtp.weight_start = 0.3  # DeepSeek-V3, arXiv:2412.19437 §4.2; GLM-4.5 does the same
    config.mmtp.weight_end = 0.1
    config.mmtp.weight_steps = 100_000  # DeepSeek: after 10 of 14.8 trillion tokens

    config.loss = ConfigDict()
    config.loss.vocab_block = 2048
    config.loss.z_loss = 1e-4  # PaLM, arXiv:2204.02311 §5
    config.loss.router_bias_rate = 1e-3  # DeepSeek-V3; only with experts

    config.optim = ConfigDict()
    config.optim.groups = ConfigDict()
    # Proposals: Muon's updates are scaled to AdamW's size, and 3e-4 is a usual AdamW rate for 0.5B.
    config.optim.groups.vision = group(lr=1e-4, weight_decay=0.1, warmup_steps=2000)
    config.optim.groups.projector = group(lr=3e-4, weight_decay=0.1, warmup_steps=2000)
    config.optim.groups.language = group(lr=3e-4, weight_decay=0.1, warmup_steps=2000)
    config.optim.group_rules = VLM_GROUPS
    config.optim.clip_norm = 1.0
    muon(config.optim)
    config.optim.algorithm_rules = MUON_LANGUAGE
    config.optim.adam_b1 = 0.9
    config.optim.adam_b2 = 0.95
    config.optim.adam_eps = 1e-8

    config.chat = ConfigDict()
    config.chat.style = "glm_ocr"
    config.chat.thinking = placeholder(bool)  # None = it is the model's choice

    config.images = ConfigDict()
    config.images.frames_per_patch = 1
    config.images.min_patches = 4
    config.images.max_patches = 2048  # what the attention kernel takes

    config.data = ConfigDict()
    config.data.train = ""  # your mixture; docs/vlm_data.md lists the forms
    config.data.heldout = ""
    config.data.tokenizer = ""  # "" = the embedded one
    config.data.supervise = "all"
    config.data.seq_len = 8192
    config.data.rows = 512  # 4.2M tokens
    config.data.documents = 4096
    config.data.vision_row_length = 2048
    config.data.vision_rows = 2048
    config.data.layout = "packed"
    config.data.groups = 0
    config.data.planned_groups = 0
    config.data.vision_cost = 0.8  # forward FLOPs of a patch in CogViT-L over a token's in the 0.5B
    config.data.num_workers = 16
    config.data.read_threads = 4
    config.data.prefetch = 2
    config.data.max_corrupt = 10_000

    config.train = ConfigDict()
    config.train.steps = 150_000
    config.train.log_every = 50
    config.train.eval_every = 5000
    config.train.eval_start = False
    config.train.save_every = 1000
    config.train.keep_last = 2
    config.train.keep_every = 10_000
    config.train.microbatches = 1
    config.train.tpu_compiler_options = (("xla_tpu_scoped_vmem_limit_kib", "65536"),)
    config.train.nonfinite = "skip"
    config.train.max_skips = 20
    config.train.profile_start = 0
    config.train.profile_stop = 0
    config.train.init_from = ""
    # From a stage 2 run: the encoder. Everything else begins afresh.
    config.train.init_rules = (("^vision/", "vision/"), (".*", ""))

    config.evals = evals()
    return config


def evals() -> ConfigDict:
    """What is measured on `data.heldout`; see `mmtp/programs/vlm_evals.py`."""
    config = ConfigDict()
    config.documents = 512  # of each source, for losses
    config.answers = 0  # replies of each source that are checked and shown
    config.panel = 24
    config.max_new_tokens = 32
    config.batch_size = 16
    config.acceptance = 0  # prompts on which drafts are verified
    config.draft_tokens = 3
    config.interference = True
    return config


def tiny(config: ConfigDict) -> None:
    """A laptop run that really learns: generated documents of every category, from scratch."""
    config.mesh.fsdp = 1
    config.mesh.rules = DECODER_PIPELINE
    config.vision.size = "tiny"
    config.vision.dtype = "float32"
    config.vision.remat = "none"
    config.vision.scan_unroll = 4
    config.vision_memory.chunk_rows = 0
    config.decoder.size = "tiny"
    config.decoder.width = 128
    config.decoder.depth = 3
    config.decoder.num_heads = 4
    config.decoder.mlp_dim = 384
    config.decoder.scan_unroll = 3
    config.loss.vocab_block = 1024
    config.mmtp.weight_steps = 300
    config.optim.muon_dtype = "float32"
    for name in ("vision", "projector", "language"):
        config.optim.groups[name].lr = 8e-3
        config.optim.groups[name].warmup_steps = 20
    config.images.max_patches = 96
    # What a model of this size can learn in minutes, and a share of everything else.
    config.data.train = (
        "tasks:digits/train@0.2,tasks:one_colour/train@0.15,tasks:one_point/train@0.2,"
        "tasks:shapes/train@0.1,tasks:all/train@0.35"
    )
    config.data.heldout = (
        "tasks:digits/heldout,tasks:one_colour/heldout,tasks:one_point/heldout,tasks:text/heldout"
    )
    config.data.seq_len = 256
    config.data.rows = 10
    config.data.documents = 66
    config.data.vision_row_length = 96
    config.data.vision_rows = 24
    config.data.num_workers = 0
    config.data.max_corrupt = 10
    config.train.steps = 300
    config.train.log_every = 25
    config.train.eval_every = 300
    config.train.save_every = 100
    config.train.keep_every = 0
    config.train.nonfinite = "stop"
    config.train.max_skips = 0
    config.evals.documents = 64
    config.evals.answers = 64
    config.evals.acceptance = 32


def smoke(config: ConfigDict) -> None:
    """Two steps of `tiny` on a model as small as can be."""
    config.vision.width, config.vision.depth = 16, 2
    config.vision.num_heads, config.vision.mlp_dim = 2, 32
    config.vision.scan_unroll = 1
    config.decoder.width, config.decoder.depth, config.decoder.head_dim = 32, 2, 16
    config.decoder.num_heads, config.decoder.num_kv_heads, config.decoder.mlp_dim = 2, 1, 64
    config.decoder.rotary_dim, config.decoder.mrope_sections = 16, (2, 3, 3)
    config.decoder.scan_unroll = 1
    config.data.heldout = "tasks:one_colour/heldout"
    config.data.rows = 8
    config.data.vision_rows = 8
    config.data.documents = 16
    for name in ("vision", "projector", "language"):
        config.optim.groups[name].warmup_steps = 1
    config.train.steps = 2
    config.train.log_every = 1
    config.train.eval_every = 2
    config.train.save_every = 2
    config.evals.documents = 8
    config.evals.answers = 4
    config.evals.panel = 4
    config.evals.max_new_tokens = 4
    config.evals.acceptance = 4
