"""Pieces that configs share: variants by name, and the optimizer's rule tables."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

# Ordered (regex, value): the first match wins. Modules (report §2.1: module-specific learning
# rates and schedules for vision, text and projection).
TWO_TOWER_GROUPS = (("^vision/", "vision"), ("^text/", "text"), (".*", "projection"))
STUDENT_GROUPS = (("^vision/", "vision"), (".*", "heads"))
VLM_GROUPS = (("^vision/", "vision"), ("^projector/", "projector"), (".*", "language"))
# Matrices by Muon; embeddings, positions, probe, norms, biases, temperature by AdamW. The patch
# embedding is the model's input layer, for which Keller Jordan advises Adam too.
MUON_MATRICES = ((r"patch_embedding/kernel$", "adamw"), (r"kernel$", "muon"), (".*", "adamw"))
# A language model's input and output tables, and its routers, stay with AdamW as well.
MUON_LANGUAGE = (
    (r"(patch_embedding|head|router)/kernel$|^decoder/embedding/", "adamw"),
    (r"kernel$", "muon"),
    (".*", "adamw"),
)
DECAY_MATRICES = ((r"(kernel|embedding|positions)$", 1.0), (".*", 0.0))

# Where parameters live: ordered (regex, mesh axes of the trailing dims), for both towers.
REPLICATED = ((".*", ()),)  # plain data parallelism
# Fully sharded data parallelism (ZeRO-3, arXiv:1910.02054): every matrix in pieces,
# gathered layer by layer where it is used.
FSDP = (
    (r"/qkv/kernel$", ("fsdp", None, None, None)),  # d 3 h k
    (r"/(query|key|value)/kernel$", ("fsdp", None, None)),  # d h k
    (
        r"mlp/(gate|up)/kernel$",
        ("fsdp", None),
    ),  # like "down": Muon exchanges equal matrices together
    (r"(kernel|embedding)$", ("fsdp",)),
    (".*", ()),
)
FSDP_ENCODER = (FSDP[0], *FSDP[2:])  # where there is no attention pooling, which has apart q, k, v
# The same, and each layer split over `tensor` as in Megatron-LM (arXiv:1909.08053): heads and the
# hidden units of the MLP live on different chips.
FSDP_TENSOR = (
    (r"/qkv/kernel$", ("fsdp", None, "tensor", None)),
    (r"/qkv/bias$", (None, "tensor", None)),
    (r"/(query|key|value)/kernel$", ("fsdp", "tensor", None)),
    (r"/(query|key|value)/bias$", ("tensor", None)),
    (r"(attention|image_pool)/out/kernel$", ("tensor", None, "fsdp")),
    (r"mlp/(gate|up)/kernel$", ("fsdp", "tensor")),
    (r"mlp/(gate|up)/bias$", ("tensor",)),
    (r"mlp/down/kernel$", ("tensor", "fsdp")),
    (r"(kernel|embedding)$", ("fsdp", None)),
    (".*", ()),
)

# The whole vision-language model, ZeRO-3, and the decoder's layers on their stages where
# `mesh.stage` is more than 1.
DECODER_FSDP = (
    (r"^decoder/blocks/attention/(query|key|value)/kernel$", ("stage", "fsdp", None, None)),
    (r"^decoder/blocks/attention/out/kernel$", ("stage", None, "fsdp", None)),
    (r"^decoder/blocks/.*kernel$", ("stage", "fsdp", None)),
    (r"^decoder/blocks/", ("stage", None)),
    (r"/qkv/kernel$", ("fsdp", None, None, None)),
    (r"/(query|key|value)/kernel$", ("fsdp", None, None)),
    (r"^decoder/(embedding/table|head/kernel)$", ("fsdp", None)),
    (r"kernel$", ("fsdp", None)),
    (".*", ()),
)
# The same without FSDP: everything else is whole on every device.
DECODER_PIPELINE = (
    (r"^decoder/blocks/attention/.*kernel$", ("stage", None, None, None)),
    (r"^decoder/blocks/.*kernel$", ("stage", None, None)),
    (r"^decoder/blocks/", ("stage", None)),
    (".*", ()),
)


def muon(config: ConfigDict) -> None:
    """Fills in `optim`'s fields of Muon and the rule tables, which both stages share."""
    config.algorithm_rules = MUON_MATRICES
    config.decay_rules = DECAY_MATRICES
    config.muon_momentum = 0.95  # Moonlight, arXiv:2502.16982
    config.muon_bias_correction = True
    config.muon_steps = 5
    config.muon_coefficients = "quintic"
    config.muon_dtype = "bfloat16"  # as Keller Jordan's; "float32" in the tiny runs
    config.muon_rms = 0.2  # Moonlight


def pod_mesh(rules: object) -> ConfigDict:
    """`mesh` of a v5e-256: parameters and optimizer state split over one torus axis."""
    return ConfigDict({"dcn": 1, "data": -1, "fsdp": 16, "tensor": 1, "rules": rules})


def check_variant(arg: str | None, variants: tuple[str, ...]) -> str:
    """The variant after the colon in --config=file.py:variant, or an error with the choices."""
    arg = arg or ""
    if arg and arg not in variants:
        raise ValueError(f"unknown config variant {arg!r}; choices: {', '.join(variants)}.")
    return arg


def group(lr: float, weight_decay: float, warmup_steps: int, **fields: object) -> ConfigDict:
    """One entry of `optim.groups`; every field is set, so that every field can be overridden."""
    values = {
        "lr": lr,
        "weight_decay": weight_decay,
        "warmup_steps": warmup_steps,
        "schedule": "cosine",
        "final_lr": 0.0,
        "decay_steps": 0,
        "freeze": False,
    }
    return ConfigDict(values | fields)


def decoder(size: str) -> ConfigDict:
    """`decoder` of a size by name; every other field can be overridden."""
    integers = (
        "width",
        "depth",
        "num_heads",
        "num_kv_heads",
        "head_dim",
        "mlp_dim",
        "vocab_size",
        "rotary_dim",
        "num_experts",
        "num_selected",
        "expert_dim",
        "num_shared_experts",
        "num_dense_layers",
        "scan_unroll",
    )
    flags = ("rope_interleaved", "sandwich_norms", "qkv_bias", "qk_norm", "tied")
    config = ConfigDict({"size": size})
    for names, kind in (
        (integers, int),
        (flags, bool),
        (("rope_theta", "norm_eps", "routed_scale"), float),
        (("dtype", "remat"), str),
        (("mrope_sections",), tuple),
    ):
        for name in names:
            config[name] = placeholder(kind)
    return config
