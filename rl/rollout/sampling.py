"""`config.sampling`: how replies are drawn."""

from dataclasses import dataclass

from cogvit_jax.settings import ConfigError

PATH = "config.sampling"


@dataclass(frozen=True)
class SamplingSettings:
    """`config.sampling`.

    Attributes:
        max_new_tokens: of a reply, its stop token included.
        max_length: tokens of an episode, pictures and all turns included; config.packing.seq_len at
            most.
        temperature: divides the logits, when drawing and in training.
        top_k, top_p: filters; 0 and 1 = none. Others have no place in training: a token's
            probability before and after the filter differ, and with them every ratio.
        stop: tokens that end a reply; () = those of the chat template.
    """

    max_new_tokens: int
    max_length: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[int, ...] = ()


def check(settings: SamplingSettings, seq_len: int, path: str = PATH) -> None:
    """Raises ConfigError for what cannot be trained on."""
    if settings.max_new_tokens < 1 or settings.max_length <= settings.max_new_tokens:
        raise ConfigError(
            f"{path}.max_new_tokens = {settings.max_new_tokens} must be from 1 to below "
            f"max_length = {settings.max_length}, which holds the prompt too."
        )
    if settings.max_length > seq_len:
        raise ConfigError(
            f"{path}.max_length = {settings.max_length} is more than config.packing.seq_len = "
            f"{seq_len}: lower it, or lengthen the rows."
        )
    if not settings.temperature > 0:
        raise ConfigError(
            f"{path}.temperature = {settings.temperature}: greedy samples of a group are all the "
            "same, and teach nothing; set it to 1."
        )
    if settings.top_k or settings.top_p != 1:
        raise ConfigError(
            f"{path}.top_k = {settings.top_k}, top_p = {settings.top_p}: a filtered token's "
            "probability is not the policy's, so its importance ratio is wrong; set 0 and 1."
        )
