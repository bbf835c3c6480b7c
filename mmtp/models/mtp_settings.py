"""The config section of multi-token prediction, and the conventions that implementations differ in.

The same checkpoint means different functions in different programs, so each choice is a field:

    concat      order of the projection's input. The paper writes [h; emb]; every released
                checkpoint has [emb; h].
    hidden      the main model's hidden state, before or after its final norm.
    chain       what depth k hands to depth k + 1: its layer's output before or after the norm that
                the output matrix sees.
    own_norm    each layer has that norm, or the decoder's final norm is used again.
    position    rotary position of the hidden state i, or of the token i + k that is fed with it.
                After a picture these are not one apart: with M-RoPE they are different functions.
    zero_first  the embedding fed at the first token of a document is zero.

    deepseek    DeepSeek-V3's equations 21-23 (arXiv:2412.19437), with the concat order and the
                final norm before the first layer under which its checkpoint is served
    glm         Megatron-LM, with which GLM trains: `deepseek`, but chained after the norm
    hf          transformers' MtpModel: `glm`, with the position of the token that is fed
    vllm        vLLM's GLM and DeepSeek layers: `deepseek`, with a zero embedding at position 0
    maxtext     MaxText: everything before the norm, which is the decoder's
"""

import dataclasses

from cogvit_jax.settings import ConfigError, choose, unknown

VISUAL_INPUTS = ("visual", "masked", "image_token", "image_token_frozen")
CHOICES = {
    "visual_input": VISUAL_INPUTS,
    "masked": ("keys", "zeros"),
    "image_embed": ("table", "own"),
    "detach": ("none", "trunk", "heads"),
}


@dataclasses.dataclass(frozen=True)
class Conventions:
    """See the module's text."""

    concat: str = "embedding_first"
    hidden: str = "post"
    chain: str = "pre"
    own_norm: bool = True
    position: str = "hidden"
    zero_first: bool = False


PRESETS = {
    "deepseek": Conventions(),
    "glm": Conventions(chain="post"),
    "hf": Conventions(chain="post", position="next"),
    "vllm": Conventions(zero_first=True),
    "maxtext": Conventions(hidden="pre", own_norm=False),
}
FLAGS = {
    "concat": ("embedding_first", "hidden_first"),
    "hidden": ("pre", "post"),
    "chain": ("pre", "post"),
    "own_norm": (False, True),
    "position": ("hidden", "next"),
    "zero_first": (False, True),
}


@dataclasses.dataclass(frozen=True)
class MTPSettings:
    """`config.mmtp`: layers that predict tokens further ahead than the next.

    Parameters are the same in all arms of `visual_input`, and so are products.

    Attributes:
        depth: tokens ahead, D; 0 = no such layers.
        shared: all depths use one layer's parameters (GLM-5), instead of one each (DeepSeek-V3).
        visual_input: what a depth is fed where token i + k is visual: its "visual" embedding, as
            the decoder gets it; nothing ("masked"); the embedding of `<|image|>`
            ("image_token", GLM-5V-Turbo's MMTP); or that without a gradient to it
            ("image_token_frozen").
        masked: what nothing means: "zeros" = a zero embedding, "keys" = also a place that no other
            place attends to.
        image_embed: `<|image|>`'s embedding is its row of the embedding "table", or the layers'
            "own" vector (which exists in all arms then).
        conventions: a key of PRESETS; the next six fields change some of it.
        concat, hidden, chain, own_norm, position, zero_first: see the module's text.
        weight_start, weight_end, weight_steps: lambda, the weight of the mean of the depths'
            losses, in the first `weight_steps` steps and after them.
        detach: what these losses do not train: "none" = they train everything, "trunk" = nothing
            below the hidden states of the main model, "heads" = only the layers themselves: also
            not embeddings, output matrix and final norm. Depths always train the depths before.
        path_mask: leave out predictions that depend on a visual token among i+1 … i+k.
    """

    depth: int = 1
    shared: bool = True
    visual_input: str = "image_token"
    masked: str = "keys"
    image_embed: str = "table"
    conventions: str = "glm"
    concat: str | None = None
    hidden: str | None = None
    chain: str | None = None
    own_norm: bool | None = None
    position: str | None = None
    zero_first: bool | None = None
    weight_start: float = 0.3
    weight_end: float = 0.1
    weight_steps: int = 0
    detach: str = "none"
    path_mask: bool = False

    @property
    def num_layers(self) -> int:
        """Layers with parameters."""
        return min(self.depth, 1) if self.shared else self.depth


def conventions(settings: MTPSettings) -> Conventions:
    """The preset with what the settings change.

    Raises:
        ConfigError: an unknown preset, or a flag that is none of its choices.
    """
    preset = choose(PRESETS, settings.conventions, "config.mmtp.conventions")
    given = {name: getattr(settings, name) for name in FLAGS}
    changes = {name: value for name, value in given.items() if value is not None}
    for name, value in changes.items():
        _check(name, value, FLAGS[name])
    return dataclasses.replace(preset, **changes)


def check(settings: MTPSettings) -> MTPSettings:
    """The settings, if they make sense.

    Raises:
        ConfigError: otherwise.
    """
    conventions(settings)
    for name, choices in CHOICES.items():
        _check(name, getattr(settings, name), choices)
    for name in ("depth", "weight_start", "weight_end", "weight_steps"):
        value = getattr(settings, name)
        if value < 0:
            raise ConfigError(f"config.mmtp.{name} = {value}: it must be at least 0.")
    return settings


def _check(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        text = unknown(f"config.mmtp.{name} = {value!r}", str(value), map(str, choices))
        raise ConfigError(text)
