"""Stage 1: CogViT-L (403M) sees 65% of a picture and predicts SigLIP2's and DINOv3's features of it.

    hf download google/siglip2-so400m-patch16-256 --local-dir=/data/siglip2
    hf download facebook/dinov3-vitl16-pretrain-lvd1689m --local-dir=/data/dinov3
    python -m cogvit_jax.main --config=configs/stage1.py --workdir=runs/stage1 \
        --config.data.train="webdataset:/data/natural/*.tar@0.8,webdataset:/data/instruct/*.tar@0.1,webdataset:/data/science/*.tar@0.1" \
        --config.teachers.semantic.path=/data/siglip2 --config.teachers.texture.path=/data/dinov3

Hardware: a TPU pod slice (v5e-256). Nobody has yet run it. Stage 2 starts from the result with
--config.train.init_from=runs/stage1 (configs/stage2.py).

    python -m cogvit_jax.main --config=configs/stage1.py:tiny --workdir=runs/stage1_tiny

Hardware: 2 CPU cores, about 5 minutes, of which up to 2 go, once, into the semantic teacher (a
small stage 2 tower, trained on the embedded pictures; the texture teacher is HOG). In kNN on
held-out digits its frozen features reach about 0.98; untrained weights 0.76. `:smoke` takes two
steps of the same code for the tests.
"""  # noqa: E501

from ml_collections import ConfigDict

from configs import stage2
from configs.common import (
    FSDP_ENCODER,
    REPLICATED,
    STUDENT_GROUPS,
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
    """The pod run. Where the report gives no number, the comment names the source of ours."""
    config = ConfigDict()
    config.program = "stage1"
    config.seed = 0

    config.mesh = pod_mesh(FSDP_ENCODER)

    config.vision = stage2.full().vision  # stage 2 goes on with the same encoder

    config.mask = ConfigDict()
    config.mask.ratio = 0.35  # report §2.1; 90 of 256 patches
    config.mask.kind = "block"  # BEiT arXiv:2106.08254, EVA-02, MaskDistill; report silent
    config.mask.min_patches = 4  # DINOv3's masking.py
    config.mask.min_aspect = 0.3
    config.mask.probability = 1.0  # EVA-02, MaskDistill

    config.teachers = ConfigDict()
    config.teachers.rules = ((r"kernel$", ("fsdp", None)), (".*", ()))  # like the student's
    config.teachers.semantic = teacher(kind="siglip2", size="So400m")  # report §2.1; size ours
    config.teachers.texture = teacher(kind="dinov3", size="L")
    # Of a teacher whose kind is "tower" and whose path is "": how it is trained.
    config.tower = tower()

    config.loss = ConfigDict()
    # UNIC's and DUNE's mix (arXiv:2408.05088): directions and sizes both count.
    config.loss.terms = (("cosine", 0.5), ("smooth_l1", 0.5))
    config.loss.tokens = "masked"  # report §2.1: "reconstruct the masked regions"; EVA-02
    config.loss.statistics_rate = 1e-3  # where UNIC's momentum ends
    config.loss.calibration_batches = 16

    config.optim = ConfigDict()
    config.optim.groups = ConfigDict()
    # Muon and cosine decay: report §2.1. Muon's updates have AdamW's size, and EVA-02-L's AdamW
    # rate is 1.5e-3 at batch 2048 with decay 0.05 and beta2 0.98.
    config.optim.groups.vision = group(lr=1e-3, weight_decay=0.05, warmup_steps=5000)
    config.optim.groups.heads = group(lr=1e-3, weight_decay=0.05, warmup_steps=5000)
    config.optim.group_rules = STUDENT_GROUPS
    config.optim.clip_norm = 3.0  # DINOv2's and EVA-02's
    muon(config.optim)
    config.optim.adam_b1 = 0.9
    config.optim.adam_b2 = 0.98
    config.optim.adam_eps = 1e-6

    config.data = ConfigDict()
    config.data.train = ""  # report §2.1: 80% natural, 10% instructions, 10% scientific pictures
    config.data.heldout = ""
    config.data.image_size = 224  # report §2.1
    config.data.global_batch = 4096  # EVA-02: 2048 (L), 4000 (S)
    config.data.crop_scale = (0.32, 1.0)  # DINOv2's global crops
    config.data.flip = True
    config.data.num_workers = 16
    config.data.read_threads = 4
    config.data.prefetch = 2
    config.data.max_corrupt = 10_000

    # Of training pictures that the loader sees; duplicates need the whole set:
    # python -m cogvit_jax.data.filter. Proposals: the report says "quality-aware" and no number.
    config.quality = ConfigDict()
    config.quality.min_side = 112  # half of what the student sees
    config.quality.max_aspect = 4.0
    config.quality.min_sharpness = 10.0
    config.quality.min_contrast = 5.0
    config.quality.max_hash_distance = -1  # for the command

    config.train = ConfigDict()
    config.train.steps = 250_000  # a billion pictures; EVA-02-L: 2.1 billion at 224 pixels
    config.train.log_every = 50
    config.train.eval_every = 5000
    config.train.eval_start = False
    config.train.save_every = 1000
    config.train.keep_last = 2
    config.train.keep_every = 25_000
    config.train.microbatches = 1
    config.train.tpu_compiler_options = (("xla_tpu_scoped_vmem_limit_kib", "65536"),)
    config.train.nonfinite = "skip"
    config.train.max_skips = 20
    config.train.profile_start = 0
    config.train.profile_stop = 0
    config.train.init_from = ""
    config.train.init_rules = ()

    config.evals = ConfigDict()
    config.evals.batch_size = 4096
    config.evals.probes = ()  # (name, train source, held-out source)
    config.evals.knn = True
    config.evals.linear_probe = True
    config.evals.baselines = False
    config.evals.pixel_sides = (32,)
    config.evals.segmentation = ()  # (name, "folder:/ade/train", "folder:/ade/heldout")
    config.evals.correspondence = ()  # sources
    config.evals.feature_maps = 16
    config.evals.reconstruction = 8
    config.evals.attention = True
    return config


def teacher(**fields: object) -> ConfigDict:
    """One section of `config.teachers`, with every field set."""
    values = {
        "kind": "siglip2",
        "path": "",
        "size": "",
        "image_size": 256,  # 16 x 16 patches of 16 pixels, as the student's 224 / 14
        "patch_size": 16,
        "weight": 1.0,
        # Two teachers ask for different things; what only one needs may stay in its head (UNIC).
        "head": "mlp",
        # Teachers' channels differ in size by orders of magnitude; UNIC, DUNE. PHI-S
        # (arXiv:2410.01680) is the alternative.
        "normalize": "ema_std",
        "cache": "",
        "dtype": "bfloat16",
    }
    return ConfigDict(values | fields)


def tower() -> ConfigDict:
    """Stage 2's tiny run, without its evaluations: under two minutes on two cores."""
    config = stage2.full()
    stage2.tiny(config)
    config.train.eval_every = 0
    config.train.save_every = config.train.steps
    config.data.heldout = ""
    return config


def tiny(config: ConfigDict) -> None:
    """A laptop run that really learns, from two teachers that need no download."""
    config.mesh.fsdp = 1
    config.mesh.rules = REPLICATED
    config.vision.size = "tiny"
    config.vision.dtype = "float32"
    config.vision.remat = "none"
    config.vision.scan_unroll = 4
    config.teachers.rules = REPLICATED
    fields = {"image_size": 70, "patch_size": 14, "dtype": "float32", "head": "linear"}
    config.teachers.semantic = teacher(kind="tower", **fields)
    config.teachers.texture = teacher(kind="hog", weight=0.5, **fields)
    # A run of minutes learns more where visible patches count too: kNN on digits of 0.95 instead
    # of 0.86 after 200 steps.
    config.loss.tokens = "all"
    config.mask.probability = 0.5  # DINOv2; evaluation shows pictures whole
    config.optim.muon_dtype = "float32"
    for name in ("vision", "heads"):
        config.optim.groups[name].lr = 4e-3  # short run, small model
        config.optim.groups[name].warmup_steps = 30
    # 80 / 10 / 10, as the report's mixture
    config.data.train = (
        "embedded:digits/train@0.6,embedded:photos/train@0.2,"
        "embedded:instruct/train@0.1,embedded:science/train@0.1"
    )
    config.data.heldout = "embedded:digits/heldout,embedded:photos/heldout"
    config.data.image_size = 70
    config.data.global_batch = 128
    config.data.crop_scale = (0.7, 1.0)
    config.data.num_workers = 0
    config.data.max_corrupt = 10
    config.quality.min_side = 1  # digits have 8 pixels
    config.quality.max_aspect = 100.0
    config.quality.min_sharpness = 0.0
    config.quality.min_contrast = 0.0
    config.train.steps = 450
    config.train.log_every = 20
    config.train.eval_every = 150
    config.train.save_every = 150
    config.train.keep_every = 0
    config.train.nonfinite = "stop"
    config.train.max_skips = 0
    config.evals.batch_size = 256
    config.evals.probes = (("digits", "embedded:digits/train", "embedded:digits/heldout"),)
    config.evals.baselines = True
    config.evals.pixel_sides = (8, 70)  # what the digits have, and what the student sees
    config.evals.segmentation = (("scenes", "scenes:100", "scenes:40"),)
    config.evals.correspondence = ("embedded:photos/heldout",)


def smoke(config: ConfigDict) -> None:
    """Two steps of `tiny` on a model as small as can be."""
    for part in (config.vision, config.tower.vision, config.tower.text):
        part.width, part.depth, part.num_heads, part.mlp_dim = 16, 2, 2, 32
        part.scan_unroll = 1
    config.tower.embed_dim = 16
    config.tower.data.global_batch = 16
    config.tower.data.lengths = (9,)
    config.tower.data.eval_length = 9
    for module in config.tower.optim.groups.values():
        module.warmup_steps = 1
    config.tower.train.steps = 1
    config.tower.train.save_every = 1
    config.data.global_batch = 16
    config.data.image_size = 42
    config.evals.pixel_sides = (8,)
    config.teachers.semantic.image_size = 42
    config.teachers.texture.image_size = 84  # another grid than the student's
    config.loss.calibration_batches = 2
    for name in ("vision", "heads"):
        config.optim.groups[name].warmup_steps = 1
    config.train.steps = 2
    config.train.log_every = 1
    config.train.eval_every = 2
    config.train.save_every = 2
    config.evals.batch_size = 32
    config.evals.linear_probe = False
    config.evals.segmentation = (("scenes", "scenes:4", "scenes:3"),)
    config.evals.feature_maps = 4
    config.evals.reconstruction = 3
