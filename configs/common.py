"""Pieces that configs share: variants by name, and the optimizer's rule tables."""

from ml_collections import ConfigDict

# Ordered (regex, value): the first match wins. Modules (report §2.1: module-specific learning
# rates and schedules for vision, text and projection).
TWO_TOWER_GROUPS = (("^vision/", "vision"), ("^text/", "text"), (".*", "projection"))
# Matrices by Muon; embeddings, positions, probe, norms, biases, temperature by AdamW. The patch
# embedding is the model's input layer, for which Keller Jordan advises Adam too.
MUON_MATRICES = ((r"patch_embedding/kernel$", "adamw"), (r"kernel$", "muon"), (".*", "adamw"))
DECAY_MATRICES = ((r"(kernel|embedding|positions)$", 1.0), (".*", 0.0))


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
