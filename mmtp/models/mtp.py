"""Multi-token prediction: layers behind the decoder that predict tokens i + 2 … i + D + 1.

Depth k = 1 … D combines, at every place i, the hidden state of depth k - 1 (for k = 1 the main
model's) with the embedding of token i + k (DeepSeek-V3, arXiv:2412.19437, eq. 21-23):

    h_i^k = Block_k( M_k [ norm(Emb(t_{i+k})) ; norm(h_i^{k-1}) ] )
    p(t_{i+k+1}) = softmax( Out norm(h_i^k) )

The output matrix and the embedding table are the decoder's. Where token i + k is visual, GLM-5V-
Turbo's MMTP feeds one learnable embedding, that of `<|image|>`, since hidden states already carry
what was seen; `MTPSettings.visual_input` has that and the designs that it is compared with.
`mtp_settings` says which conventions there are.

    params["blocks"]  every leaf stacked [n, …], n = 1 if depths share their parameters, else D:
        enorm/scale, hnorm/scale [n, d], proj/kernel [n, 2d, d], block/… (the decoder's), norm/scale
        (absent if the decoder's final norm is used again)
    params["image"]   [d], only with image_embed "own"

`run` trains all depths on whole rows. `input_embeddings`, `layer` and `norm` are one depth of it,
which also serve drafting with a cache.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cogvit_jax.layers import KERNEL_INIT, RMSNorm
from cogvit_jax.sharding import keep_tokens
from mmtp.models import attend as attention
from mmtp.models import decoder
from mmtp.models.attend import Attend, Inputs
from mmtp.models.decoder import Cache
from mmtp.models.mtp_settings import MTPSettings as MTPSettings
from mmtp.models.mtp_settings import check, conventions
from mmtp.models.presets import DecoderConfig

Params = Any


def init(key: Array, settings: MTPSettings, config: DecoderConfig) -> Params:
    """New parameters, f32.

    Raises:
        ConfigError: settings that make no sense.
    """
    check(settings)
    num, width = settings.num_layers, config.width
    block_key, proj_key, image_key = jax.random.split(key, 3)
    kernels = [KERNEL_INIT(k, (2 * width, width)) for k in jax.random.split(proj_key, num)]
    blocks: dict[str, Any] = {
        "enorm": {"scale": jnp.ones((num, width))},
        "hnorm": {"scale": jnp.ones((num, width))},
        "proj": {"kernel": jnp.stack(kernels)},
        "block": decoder.init_blocks(block_key, config, num),
    }
    if conventions(settings).own_norm:
        blocks["norm"] = {"scale": jnp.ones((num, width))}
    params: dict[str, Any] = {"blocks": blocks}
    if settings.image_embed == "own":
        params["image"] = decoder.init_embedding(image_key, config, 1)[0]
    return params


def input_embeddings(
    params: Params,
    decoder_params: Params,
    settings: MTPSettings,
    config: DecoderConfig,
    tokens: Int[Array, "b t"],
    visual: Bool[Array, "b t"],
    visual_embeddings: Float[Array, "b t d"] | None = None,
    first: Bool[Array, "b t"] | None = None,
) -> tuple[Float[Array, "b t d"], Bool[Array, "b t"]]:
    """What a depth is fed, and which places may be attended to by others, as `settings` say.

    Args:
        params: of these layers.
        decoder_params: of the decoder.
        settings: their `visual_input` decides.
        config: of the decoder.
        tokens: token i + k at place i; `<|image|>` where it is visual.
        visual: where it is.
        visual_embeddings: the decoder's input at token i + k; read in the arm "visual" only, where
            None means that no token is visual.
        first: places of documents' first tokens, whose embedding some conventions leave out; None:
            there are none.
    """
    e = decoder.embed(decoder_params, config, tokens)
    usable = jnp.ones(tokens.shape, bool)
    at = visual[..., None]
    if settings.visual_input == "visual":
        if visual_embeddings is not None:
            e = jnp.where(at, visual_embeddings.astype(e.dtype), e)
    elif settings.visual_input == "masked":
        e = jnp.where(at, 0, e)
        if settings.masked == "keys":
            usable = ~visual
    else:
        image = params["image"].astype(e.dtype) if settings.image_embed == "own" else None
        row = e if image is None else jnp.broadcast_to(image, e.shape)
        if settings.visual_input == "image_token_frozen":
            row = jax.lax.stop_gradient(row)
        e = jnp.where(at, row, e)
    if first is not None and conventions(settings).zero_first:
        e = jnp.where(first[..., None], 0, e)
    return keep_tokens(e), usable


def first_hidden(
    decoder_params: Params,
    settings: MTPSettings,
    config: DecoderConfig,
    hidden: Float[Array, "b t d"],
) -> Float[Array, "b t d"]:
    """h^0 from the decoder's hidden states before its final norm."""
    if conventions(settings).hidden == "pre":
        return hidden
    return decoder.final_norm(decoder_params, config, hidden)


def layer(
    params: Params,
    settings: MTPSettings,
    config: DecoderConfig,
    depth: int,
    h: Float[Array, "b t d"],
    e: Float[Array, "b t d"],
    inputs: Inputs,
    cache: Cache | None = None,
    attend: Attend = attention.xla,
) -> tuple[Float[Array, "b t d"], Cache | None]:
    """One depth.

    Args:
        params: of these layers.
        settings: conventions.
        config: of the decoder.
        depth: k, from 1; further than there are layers, they are used again in turn.
        h: of the depth before, or `first_hidden`.
        e: from `input_embeddings`.
        inputs: of the rows, with what `input_embeddings` calls usable.
        cache: of this depth (`init_cache`), used as in `decoder.run`.
        attend: attention of a row to itself.

    Returns:
        the layer's output before its norm, and the cache with these tokens, or None.
    """
    own = _layer_params(params, depth)
    combine = partial(_combine, conventions(settings).concat, config)
    if config.remat != "none":  # keep h and e, which exist in any case, and make the rest again
        combine = jax.checkpoint(combine)
    x = combine({name: own[name] for name in ("enorm", "hnorm", "proj")}, h, e)
    stacked = jax.tree.map(lambda leaf: leaf[None], own["block"])
    known = None if cache is None else (cache.k, cache.v, cache.usable)
    hidden, kept, _ = decoder.run_blocks(stacked, config, x, inputs, known, attend)
    if cache is None or kept is None:
        return hidden, None
    return hidden, Cache(*kept, decoder.write_usable(cache.usable, inputs))


def _layer_params(params: Params, depth: int) -> Params:
    num = params["blocks"]["proj"]["kernel"].shape[0]
    return jax.tree.map(lambda leaf: leaf[(depth - 1) % num], params["blocks"])


def _combine(concat: str, config: DecoderConfig, own: Params, h: Array, e: Array) -> Array:
    parts = [_rms_norm(own["enorm"], config, e), _rms_norm(own["hnorm"], config, h)]
    if concat == "hidden_first":
        parts.reverse()
    kernel = own["proj"]["kernel"].astype(config.dtype)
    return keep_tokens(jnp.concatenate(parts, axis=-1) @ kernel)


def _rms_norm(params: Params, config: DecoderConfig, x: Array) -> Array:
    normed: Any = RMSNorm(config.norm_eps, config.dtype).apply({"params": params}, x)
    return normed


def norm(
    params: Params,
    decoder_params: Params,
    settings: MTPSettings,
    config: DecoderConfig,
    depth: int,
    hidden: Float[Array, "b t d"],
) -> tuple[Float[Array, "b t d"], Float[Array, "b t d"]]:
    """(what the output matrix is applied to, h of the next depth) from a layer's output."""
    chosen = conventions(settings)
    if chosen.own_norm:
        normed = _rms_norm(_layer_params(params, depth)["norm"], config, hidden)
    else:
        normed = decoder.final_norm(decoder_params, config, hidden)
    return normed, normed if chosen.chain == "post" else hidden


def init_cache(config: DecoderConfig, rows: int, slots: int) -> Cache:
    """An empty cache of one depth."""
    return decoder.init_cache(dataclasses.replace(config, depth=1), rows, slots)


def num_training_heads(settings: MTPSettings) -> int | None:
    """How many heads' losses train the output matrix, for `losses.cross_entropy.head_losses`."""
    return 1 if settings.detach == "heads" else None


def run(
    params: Params,
    decoder_params: Params,
    settings: MTPSettings,
    config: DecoderConfig,
    hidden: Float[Array, "b t d"],
    x: Float[Array, "b s d"],
    batch: Mapping[str, Array],
    inputs: Inputs,
    image_token: int,
    attend: Attend = attention.xla,
) -> list[Float[Array, "b t d"]]:
    """All depths on whole rows, for training.

    Args:
        params: of these layers.
        decoder_params: of the decoder, whose table (and final norm) are used.
        settings: conventions, arm and what is detached.
        config: of the decoder.
        hidden: from the decoder, before its final norm.
        x: the decoder's input, with visual embeddings in their places: whole rows, also where
            devices share them; read in the arm "visual" only.
        batch: arrays of `data.layout.ARRAYS` with groups and rows as one dim: `mtp_tokens`,
            `mtp_valid`, `mtp_sources` `[b, D, t]`, `mtp_positions` `[b, D, t, 3]`, `positions`.
        inputs: as the decoder got them.
        image_token: id of `<|image|>`: the ids alone tell which tokens are visual, so that only
            the arm "visual" moves anything between devices that share a row.
        attend: attention of a row to itself.

    Returns:
        what the output matrix is applied to, for each depth.
    """
    if settings.detach == "heads":
        decoder_params, x = jax.lax.stop_gradient((decoder_params, x))
    h = first_hidden(decoder_params, settings, config, hidden)
    h = h if settings.detach == "none" else jax.lax.stop_gradient(h)
    first = jnp.all(batch["positions"] == 0, axis=-1)
    results = []
    for k in range(1, settings.depth + 1):
        tokens, valid = batch["mtp_tokens"][:, k - 1], batch["mtp_valid"][:, k - 1]
        visual, seen = valid & (tokens == image_token), None
        if settings.visual_input == "visual":
            sources = batch["mtp_sources"][:, k - 1, :, None]
            seen = keep_tokens(jnp.take_along_axis(x, sources, axis=1))
        known = params, decoder_params, settings, config
        e, usable = input_embeddings(*known, tokens, visual, seen, first)
        # Where token i + k is not of the document there is no loss, and nobody who has one attends.
        e = jnp.where(valid[..., None], e, 0)
        places = _depth_inputs(settings, config, inputs, batch["mtp_positions"][:, k - 1], usable)
        hidden, _ = layer(params, settings, config, k, h, e, places, attend=attend)
        normed, h = norm(*known, k, hidden)
        results.append(normed)
    return results


def _depth_inputs(
    settings: MTPSettings, config: DecoderConfig, inputs: Inputs, positions: Array, usable: Array
) -> Inputs:
    """The decoder's inputs with a depth's positions and keys."""
    if conventions(settings).position == "next":
        turned = decoder.make_inputs(config, positions, inputs.segments, inputs.order)
        inputs = inputs._replace(rope=turned.rope)
    if (settings.visual_input, settings.masked) != ("masked", "keys"):
        return inputs  # all keys can be used, and a mask that says so would only cost
    return inputs._replace(usable=usable if inputs.usable is None else usable & inputs.usable)
