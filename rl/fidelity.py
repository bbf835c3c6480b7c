"""The gate that stops a run whose pictures are lost on the way to the policy.

A rollout engine that drops pictures, gives them wrong positions or pairs them with the wrong
placeholders still writes fluent text, and rewards fall a little: nothing crashes. What tells are
tokens that depend on pictures: those whose log-probability under the trainer moves when pictures
are blanked or swapped (`rl.counterfactual`). There, engine and trainer must agree as they do
elsewhere; and the engine must agree with the trainer rather than with the blind trainer.

    gate = Gate(settings)
    figures = gate.check(step, evidence)      # raises ImagesLost

Who calls it computes the log-probabilities; all arrays here are plain.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

import numpy as np
from jaxtyping import Bool, Float, Int

from cogvit_jax.settings import ConfigError

PERCENTILES = (50, 90, 99)
FLOOR = 0.005  # nats: differences between engines that always are; ratios are to no less


class ImagesLost(RuntimeError):
    """The policy does not see what it is asked about; the message says how that was noticed."""


@dataclass(frozen=True)
class FidelitySettings:
    """`config.fidelity`.

    Attributes:
        every: steps between checks; 0 = never.
        dependent: nats by which a token's log-probability moves without pictures, to count as
            dependent on them.
        max_gap: nats of mean difference between engine and trainer on dependent tokens.
        max_ratio: of that to the difference on other tokens; both must be exceeded.
        max_blind: share of dependent tokens on which the engine is closer to the trainer without
            pictures than to the trainer with them.
        min_tokens: dependent tokens of a source below which nothing is said of it.
        patience: checks in a row that must fail.
        exempt: patterns of sources that need no pictures.
    """

    every: int = 0
    dependent: float = 0.5
    max_gap: float = 0.15
    max_ratio: float = 4.0
    max_blind: float = 0.5
    min_tokens: int = 32
    patience: int = 3
    exempt: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What is known of some rollouts that were shown pictures: n tokens of s samples.

    Attributes:
        sources: of each sample.
        sample: which one each token is of, from 0.
        rollout: log-probability of each token, as the engine gave it.
        trainer: the same under the trainer.
        blind: under the trainer with blanked or swapped pictures.
    """

    sources: Sequence[str]
    sample: Int[np.ndarray, " n"]
    rollout: Float[np.ndarray, " n"]
    trainer: Float[np.ndarray, " n"]
    blind: Float[np.ndarray, " n"]


@dataclass
class Gate:
    """Checks a run. What it remembers is in no checkpoint: a resumed run counts failures from 0.

    Attributes:
        settings: of the gate.
        failed: source -> checks in a row that failed.
    """

    settings: FidelitySettings
    failed: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("patience", "min_tokens"):
            if getattr(self.settings, name) < 1:
                raise ConfigError(
                    f"config.fidelity.{name} = {getattr(self.settings, name)}: give at least 1"
                )

    def due(self, step: int) -> bool:
        """Whether a step is to be checked."""
        return self.settings.every > 0 and step % self.settings.every == 0

    def check(self, step: int, evidence: Evidence) -> dict[str, float]:
        """Figures for the log, fidelity/NUMBER and fidelity/source/NAME/NUMBER.

        Raises:
            ImagesLost: a source failed `patience` checks in a row.
            ValueError: log-probabilities are not finite.
        """
        logged = {
            f"fidelity/{name}": value for name, value in measure(evidence, self.settings).items()
        }
        lost = []
        for source in sorted(set(evidence.sources)):
            found = measure(_of_source(evidence, source), self.settings)
            logged |= {f"fidelity/source/{source}/{name}": v for name, v in found.items()}
            if any(fnmatch(source, pattern) for pattern in self.settings.exempt):
                continue
            reasons = verdict(found, self.settings)
            if reasons is None:
                continue
            self.failed[source] = self.failed.get(source, 0) + 1 if reasons else 0
            if self.failed[source] >= self.settings.patience:
                lost.append(_message(source, found, reasons))
        logged["fidelity/failing_sources"] = float(sum(n > 0 for n in self.failed.values()))
        if lost:
            raise ImagesLost(
                f"step {step}: pictures are lost, {self.settings.patience} checks in a row.\n"
                + "\n".join(lost)
            )
        return logged


def dependent_tokens(
    trainer: Float[np.ndarray, " n"], blind: Float[np.ndarray, " n"], threshold: float
) -> Bool[np.ndarray, " n"]:
    """Tokens whose log-probability moves by more than a threshold when pictures are others."""
    return np.abs(trainer - blind) > threshold


def logprob_gap(
    rollout: Float[np.ndarray, " n"],
    trainer: Float[np.ndarray, " n"],
    image_dependent: Bool[np.ndarray, " n"],
) -> dict[str, float]:
    """|rollout − trainer| on tokens that depend on pictures ("image") and on others ("text").

    Returns:
        gap_KIND_mean, gap_KIND_p50, _p90, _p99, tokens_KIND, and gap_ratio, that of the means.
        What there are no tokens for is left out.
    """
    found: dict[str, float] = {}
    for kind, mask in (("image", image_dependent), ("text", ~image_dependent)):
        gaps = np.abs(rollout - trainer)[mask]
        found[f"tokens_{kind}"] = float(len(gaps))
        if len(gaps):
            found[f"gap_{kind}_mean"] = float(gaps.mean())
            found |= {f"gap_{kind}_p{p}": float(np.percentile(gaps, p)) for p in PERCENTILES}
    if "gap_image_mean" in found:
        found["gap_ratio"] = found["gap_image_mean"] / max(found.get("gap_text_mean", 0.0), FLOOR)
    return found


def measure(evidence: Evidence, settings: FidelitySettings) -> dict[str, float]:
    """Figures of `logprob_gap`, and blind_share where there are tokens that depend on pictures.

    Raises:
        ValueError: log-probabilities are not finite.
    """
    columns = (evidence.rollout, evidence.trainer, evidence.blind)
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError("log-probabilities are not finite")
    mask = dependent_tokens(evidence.trainer, evidence.blind, settings.dependent)
    found = logprob_gap(evidence.rollout, evidence.trainer, mask)
    if mask.any():
        to_trainer, to_blind = (
            np.abs(evidence.rollout - column)[mask] for column in (evidence.trainer, evidence.blind)
        )
        found["blind_share"] = float(np.mean(to_blind < to_trainer))
    return found


def verdict(found: Mapping[str, float], settings: FidelitySettings) -> list[str] | None:
    """What is wrong with a source, as names of REASONS; None where too little is known."""
    if found["tokens_image"] < settings.min_tokens:
        return None
    checks = {"blind": _is_blind, "gap": _differs}
    return [name for name, fails in checks.items() if fails(found, settings)]


def _is_blind(found: Mapping[str, float], settings: FidelitySettings) -> bool:
    return found["blind_share"] > settings.max_blind


def _differs(found: Mapping[str, float], settings: FidelitySettings) -> bool:
    return found["gap_image_mean"] > settings.max_gap and found["gap_ratio"] > settings.max_ratio


REASONS: dict[str, Callable[[Mapping[str, float]], str]] = {
    "blind": lambda f: (
        f"on {f['blind_share']:.0%} of {f['tokens_image']:.0f} tokens that depend on pictures, the "
        "rollout engine is closer to a trainer whose pictures are blanked than to the trainer: "
        "look for pictures that are dropped before the engine, such as on resuming a reply"
    ),
    "gap": lambda f: (
        f"engine and trainer differ by {f['gap_image_mean']:.3f} nats on {f['tokens_image']:.0f} "
        f"tokens that depend on pictures and by {f.get('gap_text_mean', 0.0):.3f} on others: look "
        "for wrong M-RoPE positions, placeholders that do not match the pictures' grids or order, "
        "other resizing or normalisation, and vision weights that were not published"
    ),
}


def _message(source: str, found: Mapping[str, float], reasons: Sequence[str]) -> str:
    return "\n".join(f"source {source!r}: {REASONS[name](found)}" for name in reasons)


def _of_source(evidence: Evidence, source: str) -> Evidence:
    """The samples of a source, and their tokens."""
    mine = np.array([name == source for name in evidence.sources])
    tokens = mine[evidence.sample]
    numbers = np.cumsum(mine) - 1
    return Evidence(
        sources=[source] * int(mine.sum()),
        sample=numbers[evidence.sample[tokens]],
        rollout=evidence.rollout[tokens],
        trainer=evidence.trainer[tokens],
        blind=evidence.blind[tokens],
    )
