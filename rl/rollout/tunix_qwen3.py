"""Our decoder as Tunix's Qwen3, so that its sampler draws from the policy that we train.

    sampler = make_sampler(make_model(params, config), 128, config.depth, config.num_kv_heads,
                           config.head_dim)
    engine = TunixEngine(sampler, update=update)
    await engine.publish(1, params)          # parameters of `mmtp.models.vlm`

Seen in google-tunix 0.1.7: its Qwen3 turns queries and keys by a theta of 1e6 whatever its config
says, and begins with MLPs of zeros, through which nothing is learned; so weights always come from
ours. With equal weights, log-probabilities are equal to 1e-5.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cogvit_jax.settings import ConfigError
from mmtp.models.decoder import DecoderConfig

THETA = 1e6
Path = tuple[str | int, ...]

# Of each layer: Tunix's name -> ours, under "blocks"; the axes are the same.
LAYER: dict[Path, Path] = {
    ("input_layernorm", "w"): ("norm1", "scale"),
    ("attn", "q_proj", "w"): ("attention", "query", "kernel"),
    ("attn", "k_proj", "w"): ("attention", "key", "kernel"),
    ("attn", "v_proj", "w"): ("attention", "value", "kernel"),
    ("attn", "o_proj", "w"): ("attention", "out", "kernel"),
    ("attn", "q_norm", "w"): ("attention", "q_norm", "scale"),
    ("attn", "k_norm", "w"): ("attention", "k_norm", "scale"),
    ("post_attention_layernorm", "w"): ("norm2", "scale"),
    ("mlp", "gate_proj", "kernel"): ("mlp", "gate", "kernel"),
    ("mlp", "up_proj", "kernel"): ("mlp", "up", "kernel"),
    ("mlp", "down_proj", "kernel"): ("mlp", "down", "kernel"),
}
# Once: the last one is absent in tied models.
WHOLE: dict[Path, Path] = {
    ("embedder", "input_embedding"): ("embedding", "table"),
    ("final_norm", "w"): ("norm", "scale"),
    ("lm_head", "w"): ("head", "kernel"),
}


def check(config: DecoderConfig, path: str = "config.decoder") -> None:
    """Raises ConfigError for a decoder that is no Qwen3."""
    for name, wanted in {
        "qk_norm": True,
        "qkv_bias": False,
        "sandwich_norms": False,
        "rope_interleaved": False,
        "rotary_dim": config.head_dim,
        "rope_theta": THETA,
        "moe": None,
    }.items():
        value = getattr(config, name)
        if value != wanted:
            raise ConfigError(
                f"{path}.{name} = {value}: Tunix's Qwen3 has {wanted}; set it so, or draw with "
                "another engine."
            )


def make_model(params: Any, config: DecoderConfig) -> Any:
    """A Qwen3 of Tunix with these parameters.

    Args:
        params: of `mmtp.models.vlm`; only the decoder's are read.
        config: of the decoder.

    Raises:
        ConfigError: the decoder is no Qwen3.
    """
    check(config)
    from flax import nnx
    from tunix.models.qwen3 import model as qwen3  # type: ignore

    made = qwen3.ModelConfig(
        num_layers=config.depth,
        vocab_size=config.vocab_size,
        embed_dim=config.width,
        hidden_dim=config.mlp_dim,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        num_kv_heads=config.num_kv_heads,
        rope_theta=int(THETA),
        norm_eps=config.norm_eps,
        use_tied_embedding=config.tied,
        dtype=jnp.dtype(config.dtype),
    )
    model = qwen3.Qwen3(made, rngs=nnx.Rngs(0))
    nnx.update(model, replaced(nnx.state(model), params))
    return model


def update(sampler: Any, params: Any) -> None:
    """Our parameters into a sampler of such a model: `TunixEngine(…, update=update)`."""
    sampler.transformer_state = replaced(sampler.transformer_state, params)


def replaced(state: Any, params: Any) -> Any:
    """The `nnx.State` with copies of our parameters, in its own types and places."""
    from flax import nnx

    found = arrays(params["decoder"])

    def take(path: Path, leaf: Any) -> Any:
        old = leaf[...]
        return leaf.replace(jax.device_put(found[path].astype(old.dtype), old.sharding))

    return nnx.map_state(take, state)


@jax.jit
def arrays(decoder: Any) -> dict[Path, jax.Array]:
    """Tunix's path of each parameter -> a copy of ours, since training gives its own away."""
    found = {theirs: _at(decoder, ours) for theirs, ours in WHOLE.items() if ours[0] in decoder}
    for theirs, ours in LAYER.items():
        stacked = _at(decoder["blocks"], ours)
        found |= {("layers", i, *theirs): stacked[i] for i in range(len(stacked))}
    return {path: jnp.copy(value) for path, value in found.items()}


def _at(values: Any, path: Path) -> Any:
    for name in path:
        values = values[name]
    return values
