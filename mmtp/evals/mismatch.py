"""Does it matter if drafts are served with another visual input than they were trained with?

Engines disagree about the same checkpoint: for one model, SGLang feeds its prediction layers the
pictures' embeddings and vLLM the row of `<|image|>`. Any choice is lossless, since the main model
verifies every draft; what changes is how many drafts are kept.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmtp.evals import acceptance
from mmtp.evals.acceptance import Steps
from mmtp.generation.engine import Engine
from mmtp.generation.requests import Completion, Request
from mmtp.generation.settings import EngineSettings
from mmtp.models.vlm import VLM

# What can be served; a frozen `<|image|>` row is served as any other.
SERVED: Mapping[str, Mapping[str, Any]] = {
    "visual": {"visual_input": "visual"},
    "masked_keys": {"visual_input": "masked", "masked": "keys"},
    "masked_zeros": {"visual_input": "masked", "masked": "zeros"},
    "image_token": {"visual_input": "image_token"},
}


def served(model: VLM, arm: str) -> VLM:
    """The model as an engine would serve it, whatever it was trained with.

    Both fields are set, so that models of all training arms are one and the same static argument,
    for which the engine is compiled once.

    Args:
        model: any; same parameters in all arms.
        arm: a key of SERVED.
    """
    fields = {"masked": "keys", **SERVED[arm]}
    return dataclasses.replace(model, mtp=dataclasses.replace(model.mtp, **fields))


def serve(
    model: VLM,
    params: Any,
    requests: Sequence[Request],
    sizes: EngineSettings,
    arms: Sequence[str] = tuple(SERVED),
) -> dict[str, tuple[Steps, list[Completion]]]:
    """{arm: (verifications, completions)} of the same requests with each arm served.

    Args:
        model: its own arm does not matter.
        params: of the model.
        requests: to be completed, greedily if acceptance is to be compared token by token.
        sizes: of the engine; `num_draft` must be positive.
        arms: keys of SERVED.

    Raises:
        ValueError: no drafts, or `sizes.visual_input` would override the arms.
    """
    if sizes.visual_input or not sizes.num_draft:
        raise ValueError(
            f"visual_input = {sizes.visual_input!r}, num_draft = {sizes.num_draft}: leave the "
            "first to the arms ('') and draft at least one token."
        )
    found = {}
    for arm in arms:
        completions = Engine(served(model, arm), params, sizes).generate(requests)
        found[arm] = (acceptance.generated(requests, completions), completions)
    return found


def equal_share(one: Sequence[Completion], other: Sequence[Completion]) -> float:
    """Share of completions with the very same tokens; below 1 only by the rounding of ties."""
    pairs = zip(one, other, strict=True)
    return float(np.mean([np.array_equal(a.tokens, b.tokens) for a, b in pairs]))
