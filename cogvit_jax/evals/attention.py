"""The largest attention logit of each tower: what QK-Norm bounds (arXiv:2010.04245)."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cogvit_jax import sharding, tree
from cogvit_jax.data.records import Source
from cogvit_jax.evals.embed import Embedder


def max_logits(
    diagnose: Callable[[Any, Any, Any], Any], embedder: Embedder, source: Source, params: Any
) -> dict[str, float]:
    """`<tower>/max_logit` over the first batch of a source, all layers and heads.

    Args:
        diagnose: (params, images, tokens) -> the model's "diagnostics" collection.
        embedder: makes the batch.
        source: pictures and captions to look at.
        params: of the model.
    """
    found = diagnose(params, *embedder.sample(source))
    worst: dict[str, float] = {}
    for name, value in tree.named_leaves(found):
        if "max_logit" in name:
            key = f"{name.split('/')[0]}/max_logit"
            worst[key] = max(worst.get(key, -np.inf), float(np.max(sharding.to_host(value))))
    return worst


def make_diagnose(apply: Callable[..., Any]) -> Callable[[Any, Any, Any], Any]:
    """Jitted `diagnose` for a model's `apply`."""

    def diagnose(params: Any, image: Any, tokens: Any) -> Any:
        _, found = apply({"params": params}, image, tokens, mutable=["diagnostics"])
        return found["diagnostics"]

    return jax.jit(diagnose)
