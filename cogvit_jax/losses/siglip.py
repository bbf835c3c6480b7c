"""SigLIP's pairwise sigmoid loss over many devices, in memory that one tile of logits bounds.

With N images x_i, N texts y_j (unit vectors), scale s = exp(log_scale) and bias b
(SigLIP, arXiv:2303.15343, equation 2 and Algorithm 1):

    logit_ij = s <x_i, y_j> + b
    z_ij     = +1 where image i and text j are a pair, else -1
    loss     = 1/N  sum_i sum_j  -log sigmoid(z_ij logit_ij)

A term needs no sum over the others (a softmax would), so the pass which computes a tile of the
loss also has its gradients, with e_ij = -z_ij sigmoid(-z_ij logit_ij):

    d/dx_i = s sum_j e_ij y_j    d/dy_j = s sum_i e_ij x_i    d/db = sum_ij e_ij
    d/dlog_scale = s sum_ij e_ij <x_i, y_j>

Differentiation therefore runs one sweep, which stores no logits and computes none twice; the
backward pass only multiplies what the sweep found by the incoming cotangent.

Devices hold N/P rows each. Texts travel, and their gradients travel behind them, one hop late so
that a block and a gradient are both under way while a tile is being computed:

    ring           P-1 hops to the right neighbour
    bidirectional  (P-1)//2 hops which swap blocks with both neighbours (GLM-5V-Turbo, section
                   2.1), and for even P one last hop to the right: both link directions work, and
                   every device still meets every text once
    all_gather     all texts at once: fewest steps, memory grows with N
    all_pairs      one device or automatic partitioning: the plain N x N expression, for reference
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_DIRECTIONS = {"ring": (1,), "bidirectional": (1, -1)}
METHODS = ("all_pairs", "all_gather", *_DIRECTIONS)

Block = tuple[Float[Array, "t d"], Int[Array, "t"]]  # texts and their pair ids
Rows = tuple[Float[Array, "c d"], Int[Array, "c"]]  # images and their pair ids
# Sums, d/d images `[c, d]` and d/d texts `[t, d]` (float32; None where no gradient is asked).
Found = tuple[dict[str, Array], Any, Any]
Tile = Callable[[Rows, Block], Found]


@dataclass(frozen=True)
class _Plan:
    method: str
    axes: tuple[str, ...]
    chunk_size: int | None


def sigmoid_loss(
    image_emb: Float[Array, "b d"],
    text_emb: Float[Array, "b d"],
    log_scale: Float[Array, ""],
    bias: Float[Array, ""],
    *,
    pair_ids: Int[Array, "b"] | None = None,
    axis_name: str | tuple[str, ...] | None = None,
    method: str = "bidirectional",
    chunk_size: int | None = None,
) -> tuple[Array, Array, dict[str, Array]]:
    """Sum of the sigmoid loss of this device's images against the texts of all devices.

    Inside `jax.shard_map`, sum `total` and `weight` over devices; their ratio is SigLIP's loss:

        total, weight, _ = sigmoid_loss(x, y, log_scale, bias, axis_name="data")
        loss = jax.lax.psum(total, "data") / jax.lax.psum(weight, "data")

    That may be differentiated inside or outside `shard_map`. All devices' totals must enter the
    differentiated quantity alike: since a text's gradient is accumulated before the cotangents are
    known, cotangents of `total` which differ between devices give NaN gradients, not wrong ones.
    With `check_vma=True` the gradients of a replicated scale and bias come out summed over devices;
    with `check_vma=False` a gradient taken *inside* is this device's share of them.

    Args:
        image_emb, text_emb: this device's rows, L2-normalised by the caller; row i of one belongs
            to row i of the other. bfloat16 is fine: products, logits and sums are float32, and
            only the gradients of the logits are rounded to the embeddings' type for their matmuls.
        log_scale, bias: scalars (SigLIP starts at log 10 and -10).
        pair_ids: pairs with equal ids, on any device, are positives of each other; None: all
            pairs are distinct.
        axis_name: mesh axis or axes (taken as one, the first being the slowest) whose devices
            share the batch; None: this is the whole batch, and all methods compute alike.
        method: "bidirectional", "ring", "all_gather", "all_pairs"; see the module's text.
        chunk_size: images in a tile of logits. A tile is `[chunk, b]`, for all_gather
            `[chunk, P b]`. None: all b. It need not divide b.

    Returns:
        total: float32 sum of the loss over this device's images and all texts.
        weight: float32 number of this device's images.
        metrics: float32 sums without gradient, to be summed over devices and then divided:
            `positive_logit_sum` by `num_positives`, `negative_logit_sum` by `num_negatives`.

    Raises:
        ValueError: unknown method, chunk_size below 1, shapes that do not match, or all_pairs
            together with axis_name or chunk_size.
    """
    axes = () if axis_name is None else (axis_name,) if isinstance(axis_name, str) else axis_name
    plan = _Plan(method, tuple(axes), chunk_size)
    _check(plan, image_emb, text_emb, log_scale, bias, pair_ids)
    b = len(image_emb)
    if pair_ids is None:
        pair_ids = jnp.arange(b) + (b * jax.lax.axis_index(plan.axes) if axes else 0)
    # Adding a zero which varies over the mesh axes makes the scalars vary over them too, whether
    # or not they did before; the transpose of that implicit cast sums their gradients.
    zero = jnp.zeros_like(image_emb[0, 0], jnp.float32)
    scalars = (jnp.asarray(x, jnp.float32) + zero for x in (log_scale, bias))
    loss = _all_pairs if method == "all_pairs" else partial(_loss, plan)
    metrics = dict(loss(image_emb, text_emb, pair_ids, *scalars))
    total = metrics.pop("total")
    return total, zero + b, jax.lax.stop_gradient(metrics)


def _check(plan: _Plan, image, text, log_scale, bias, pair_ids) -> None:
    if plan.method not in METHODS:
        raise ValueError(f"method is {plan.method!r}; choose one of {', '.join(METHODS)}")
    if plan.chunk_size is not None and plan.chunk_size < 1:
        raise ValueError(f"chunk_size is {plan.chunk_size}; choose None or at least 1")
    if plan.method == "all_pairs" and (plan.axes or plan.chunk_size):
        raise ValueError(
            f"method 'all_pairs' takes no axis_name (here {plan.axes}) and no chunk_size (here "
            f"{plan.chunk_size}); choose one of all_gather, ring, bidirectional"
        )
    if image.ndim != 2 or image.shape != text.shape or not len(image):
        raise ValueError(
            f"image_emb is {image.shape} and text_emb is {text.shape}; both must be the same [b, d]"
        )
    if pair_ids is not None and pair_ids.shape != image.shape[:1]:
        raise ValueError(f"pair_ids is {pair_ids.shape}; expected {image.shape[:1]}, one per image")
    for name, x in (("log_scale", log_scale), ("bias", bias)):
        if jnp.shape(x) != ():
            raise ValueError(f"{name} has shape {jnp.shape(x)}; expected a scalar, shape ()")


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(plan: _Plan, image, text, ids, log_scale, bias) -> dict[str, Array]:
    tile = partial(_tile, log_scale=log_scale, bias=bias, with_grads=False)
    return _sweep(plan, tile, (image, ids), (text, ids))[0]


def _loss_forward(plan: _Plan, image, text, ids, log_scale, bias):
    tile = partial(_tile, log_scale=log_scale, bias=bias, with_grads=True)
    sums, d_image, d_text = _sweep(plan, tile, (image, ids), (text, ids))
    d_scalars = sums.pop("d_log_scale"), sums.pop("d_bias")
    return sums, (d_image.astype(image.dtype), d_text.astype(text.dtype), None, *d_scalars)


def _loss_backward(plan: _Plan, grads, cotangents: dict[str, Array]):
    factor = cotangents["total"]
    if plan.axes:
        alike = jax.lax.pmax(factor, plan.axes) == jax.lax.pmin(factor, plan.axes)
        factor = jnp.where(alike, factor, jnp.nan)
    return jax.tree.map(lambda g: (factor * g.astype(jnp.float32)).astype(g.dtype), grads)


_loss.defvjp(_loss_forward, _loss_backward)


def _all_pairs(image, text, ids, log_scale, bias) -> dict[str, Array]:
    return _tile((image, ids), (text, ids), log_scale, bias, with_grads=False)[0]


def _tile(rows: Rows, block: Block, log_scale, bias, with_grads: bool) -> Found:
    """Loss of c images against t texts and, if asked, its gradients (float32, else None)."""
    (image, image_ids), (text, text_ids) = rows, block
    cosines = jnp.einsum("id,td->it", image, text, preferred_element_type=jnp.float32)
    logits = jnp.exp(log_scale) * cosines + bias
    positive = image_ids[:, None] == text_ids[None, :]
    signed = jnp.where(positive, logits, -logits)
    sums = {
        "total": -jnp.sum(jax.nn.log_sigmoid(signed)),
        "positive_logit_sum": jnp.sum(jnp.where(positive, logits, 0)),
        "negative_logit_sum": jnp.sum(jnp.where(positive, 0, logits)),
        "num_positives": jnp.sum(positive, dtype=jnp.float32),
        "num_negatives": jnp.sum(~positive, dtype=jnp.float32),
    }
    if not with_grads:
        return sums, None, None
    d_logits = jnp.where(positive, -1.0, 1.0) * jax.nn.sigmoid(-signed)
    d_cosines = jnp.exp(log_scale) * d_logits
    sums |= {"d_log_scale": jnp.sum(d_cosines * cosines), "d_bias": jnp.sum(d_logits)}
    matmul = partial(jnp.einsum, preferred_element_type=jnp.float32)
    d_image = matmul("it,td->id", d_cosines.astype(text.dtype), text)
    d_text = matmul("it,id->td", d_cosines.astype(image.dtype), image)
    return sums, d_image, d_text


def _chunked(tile: Tile, rows: Rows, block: Block, *, chunk_size: int | None) -> Found:
    """All images of `rows` against one block of texts, `chunk_size` images at a time."""
    b = len(rows[0])
    chunk = min(chunk_size or b, b)
    first = b % chunk or chunk  # a short first chunk where the size does not divide b
    sums, d_image, d_text = tile(jax.tree.map(lambda x: x[:first], rows), block)
    if first == b:
        return sums, d_image, d_text

    def step(carry, some: Rows):
        sums, d_image, d_text = tile(some, block)
        return _add(carry, (sums, d_text)), d_image

    rest = jax.tree.map(lambda x: x[first:].reshape(-1, chunk, *x.shape[1:]), rows)
    (sums, d_text), more = jax.lax.scan(step, (sums, d_text), rest)
    if d_image is not None:
        d_image = jnp.concatenate([d_image, more.reshape(-1, d_image.shape[1])])
    return sums, d_image, d_text


def _sweep(plan: _Plan, tile: Tile, rows: Rows, block: Block) -> Found:
    """This device's images against the texts of all devices; gradients end where rows live."""
    meet = partial(_chunked, tile, rows, chunk_size=plan.chunk_size)
    if not plan.axes:
        return meet(block)
    if plan.method == "all_gather":
        gathered = jax.tree.map(lambda x: jax.lax.all_gather(x, plan.axes, tiled=True), block)
        sums, d_image, d_text = meet(gathered)
        scatter = partial(jax.lax.psum_scatter, axis_name=plan.axes, tiled=True)
        return sums, d_image, jax.tree.map(scatter, d_text)
    return _ring(meet, block, plan.axes, _DIRECTIONS[plan.method])


def _ring(
    meet: Callable[[Block], Found], block: Block, axes: tuple[str, ...], directions: Sequence[int]
) -> Found:
    """Pass text blocks round the ring, one stream per direction, until each has met each device.

    A stream's gradient follows its block one hop behind and goes home in a single hop at the end.
    """
    size = jax.lax.axis_size(axes)
    hops, single = divmod(size - 1, len(directions))  # the odd block out goes to the right
    shift = partial(_shift, axes=axes, size=size)

    def visit(state, onward: Sequence[int]):
        stay, blocks, d_texts = state
        leaving = tuple(shift(x, steps) for x, steps in zip(blocks, onward, strict=False))
        d_texts = list(d_texts)
        for i, arrived in enumerate(blocks):
            followed = shift(d_texts[i], directions[i])
            *found, d_text = meet(arrived)
            stay, d_texts[i] = _add(stay, found), _add(followed, d_text)
        return stay, leaving, tuple(d_texts)

    leaving = tuple(shift(block, steps) for steps in directions)
    *stay, d_text = meet(block)
    empty = jax.tree.map(jnp.zeros_like, d_text)
    state = (stay, leaving, (d_text, empty)[: len(directions)])
    if hops > 1:
        state, _ = jax.lax.scan(lambda s, _: (visit(s, directions), None), state, length=hops - 1)
    if hops:
        state = visit(state, directions[:single])
    if single:
        stay, leaving, d_texts = state
        state = visit((stay, leaving[:1], d_texts), ())
    (sums, d_image), _, (d_right, *d_left) = state
    home = shift(d_right, -(hops + single))
    for d_text in d_left:
        home = _add(home, shift(d_text, hops))
    return sums, d_image, home


def _shift(tree, steps: int, axes: tuple[str, ...], size: int):
    route = [(i, (i + steps) % size) for i in range(size)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, axes, route), tree)


def _add(x, y):
    return jax.tree.map(jnp.add, x, y)
