"""The image-fidelity gate of a run: the batch scored once more, with every picture grey."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from cogvit_jax import settings
from rl.counterfactual import GREY
from rl.fidelity import Evidence, FidelitySettings, Gate
from rl.lead import ALONE, Lead
from rl.programs.rl_batch import Built
from rl.scoring import Score

KNOWN = ("mask", "versions", "sample", "rollout_logprobs")

Inspect = Callable[[Built, Any, dict[str, Any]], dict[str, float]]


def make_inspect(config: Any, score: Score, lead: Lead = ALONE) -> Inspect:
    """(batch on the host, the policy before the step, batch on the devices) -> figures.

    Nothing is done between the steps of `config.fidelity.every`. All processes score the batch;
    process 0, which knows whose tokens they are, judges for all.

    Raises:
        ConfigError: a field is out of range.
    """
    gate = Gate(settings.read(FidelitySettings, config.fidelity, "config.fidelity"))

    def inspect(built: Built, params: Any, arrays: dict[str, Any]) -> dict[str, float]:
        if not gate.due(built.step):
            return {}
        blind = {**arrays, "image": _greyed(arrays["image"])}
        seen, unseen = (_on_host(score(params, batch)) for batch in (arrays, blind))
        known = {name: _on_host(arrays[name]) for name in KNOWN}
        return lead.do(lambda: judge(built, known, seen, unseen)) or {}

    def judge(
        built: Built, known: dict[str, np.ndarray], seen: np.ndarray, unseen: np.ndarray
    ) -> dict[str, float]:
        evidence, fresh = _evidence(built, known, seen, unseen)
        # Tokens of older versions differ by what was learned since, most of all where pictures
        # matter; then only the comparison with the blind trainer tells.
        limits = gate.settings
        if not fresh:
            limits = dataclasses.replace(limits, max_gap=math.inf)
        return Gate(limits, gate.failed).check(built.step, evidence)

    return inspect


def _greyed(image: dict[str, Any]) -> dict[str, Any]:
    return image | {"patches": jnp.full_like(image["patches"], GREY)}


def _evidence(
    built: Built, known: dict[str, np.ndarray], seen: np.ndarray, unseen: np.ndarray
) -> tuple[Evidence, bool]:
    """Of the tokens that the newest policy drew, or of all where there are none such; and which."""
    mask, versions, sample, rollout = (known[name] for name in KNOWN)
    trained = mask > 0
    newest = trained & (versions == built.step)
    fresh = bool(newest.any())
    chosen = newest if fresh else trained
    evidence = Evidence(
        sources=[name.rpartition("/")[0] for name in built.ids],
        sample=sample[chosen] - 1,
        rollout=rollout[chosen],
        trainer=seen[chosen],
        blind=unseen[chosen],
    )
    return evidence, fresh


def _on_host(array: jax.Array) -> np.ndarray:
    if jax.process_count() > 1:
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
