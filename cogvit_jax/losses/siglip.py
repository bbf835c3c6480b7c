"""SigLIP's pairwise sigmoid loss over many devices, in memory that one tile of logits bounds.

`tiles.py` has the formulas. Because the loss has no normaliser, differentiation runs one sweep
over the N x N logits, which stores none and computes loss and gradients together; the backward
pass only multiplies what the sweep found by the incoming cotangent. Devices hold N/P rows each,
and the methods differ in how images and texts of different devices meet:

    ring           text blocks go round P-1 hops to the right neighbour, their gradients behind
    bidirectional  (P-1)//2 hops which swap blocks with both neighbours (GLM-5V-Turbo, section
                   2.1), and for even P one last hop to the right: both link directions work, and
                   every device still meets every text once
    all_gather     all texts at once: fewest steps, memory grows with N
    dual_gather    all texts and all images at once: four matmuls instead of three, but no
                   gradients travel
    all_pairs      one device or automatic partitioning: the plain N x N expression, for reference

`auto.choose_method` picks one by chips and sizes.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cogvit_jax.losses import gather, ring
from cogvit_jax.losses.tiles import Found, Side, compare

_SWEEPS = {
    "all_gather": gather.one_sided,
    "dual_gather": gather.two_sided,
    "ring": partial(ring.travel, directions=(1,)),
    "bidirectional": partial(ring.travel, directions=(1, -1)),
}
METHODS = ("all_pairs", *_SWEEPS)


@dataclasses.dataclass(frozen=True)
class _Plan:
    method: str
    axes: tuple[str, ...]
    chunk_size: int | None


def sigmoid_loss(
    image_emb: Float[Array, "b d"],
    text_emb: Float[Array, "t d"],
    log_scale: Float[Array, ""],
    bias: Float[Array, ""],
    *,
    image_ids: Int[Array, "b"] | None = None,
    text_ids: Int[Array, "t"] | None = None,
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

    Totals of parts of the images add up to that of all, so a batch can be compared in microbatches
    of images, with texts that stay (or that `gather.gather_texts` collected once).

    Args:
        image_emb, text_emb: this device's rows, L2-normalised by the caller. Products take their
            operands in the images' type; logits and sums are float32, and of the gradients only
            those of the logits are rounded to that type. So bfloat16 images are fine, and texts
            may be float32 beside them to get float32 gradients.
        log_scale, bias: scalars (SigLIP starts at log 10 and -10).
        image_ids, text_ids: an image and a text with equal ids, on any device, are positives of
            each other. None for both: row i of the images belongs to row i of the texts.
        axis_name: mesh axis or axes (taken as one, the first being the slowest) whose devices
            share the batch; None: these are all texts, and all methods compute alike.
        method: one of `METHODS`; see the module's text.
        chunk_size: images in a tile of logits. A tile is `[chunk, t]`, for the gather methods
            `[chunk, P t]` and `[chunk, P b]`. None: all rows. It need not divide them.

    Returns:
        total: float32 sum of the loss over this device's images and all texts.
        weight: float32 number of this device's images.
        metrics: float32 sums without gradient, to be summed over devices and then divided:
            `positive_logit_sum` by `num_positives`, `negative_logit_sum` by `num_negatives`.

    Raises:
        ValueError: unknown method, chunk_size below 1, shapes that do not match, one kind of ids
            without the other, or all_pairs together with axis_name or chunk_size.
    """
    axes = () if axis_name is None else (axis_name,) if isinstance(axis_name, str) else axis_name
    plan = _Plan(method, tuple(axes), chunk_size)
    _check_plan(plan)
    _check_shapes(image_emb, text_emb, image_ids, text_ids)
    for name, x in (("log_scale", log_scale), ("bias", bias)):
        if jnp.shape(x) != ():
            raise ValueError(f"{name} has shape {jnp.shape(x)}; expected a scalar, shape ()")
    b = len(image_emb)
    if image_ids is None or text_ids is None:
        image_ids = jnp.arange(b) + (b * jax.lax.axis_index(plan.axes) if axes else 0)
        text_ids = image_ids
    # Adding a zero which varies over the mesh axes makes the scalars vary over them too, whether
    # or not they did before; the transpose of that implicit cast sums their gradients.
    zero = jnp.zeros_like(image_emb[0, 0], jnp.float32)
    scalars = (jnp.asarray(x, jnp.float32) + zero for x in (log_scale, bias))
    loss = _all_pairs if method == "all_pairs" else partial(_loss, plan)
    metrics = dict(loss(image_emb, text_emb, image_ids, text_ids, *scalars))
    total = metrics.pop("total")
    return total, zero + b, jax.lax.stop_gradient(metrics)


def _check_plan(plan: _Plan) -> None:
    if plan.method not in METHODS:
        raise ValueError(f"method is {plan.method!r}; choose one of {', '.join(METHODS)}")
    if plan.chunk_size is not None and plan.chunk_size < 1:
        raise ValueError(f"chunk_size is {plan.chunk_size}; choose None or at least 1")
    if plan.method == "all_pairs" and (plan.axes or plan.chunk_size):
        raise ValueError(
            f"method 'all_pairs' takes no axis_name (here {plan.axes}) and no chunk_size (here "
            f"{plan.chunk_size}); choose one of {', '.join(_SWEEPS)}"
        )


def _check_shapes(image, text, image_ids, text_ids) -> None:
    shapes = f"image_emb is {image.shape} and text_emb is {text.shape}"
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
        raise ValueError(f"{shapes}; they must be [b, d] and [t, d] with the same d")
    if not len(image) or not len(text):
        raise ValueError(f"{shapes}; neither may be empty")
    if (image_ids is None) != (text_ids is None):
        missing = "image_ids" if image_ids is None else "text_ids"
        raise ValueError(f"{missing} is None; give the ids of both sides or of neither")
    if image_ids is None and len(image) != len(text):
        raise ValueError(f"{shapes}; without image_ids and text_ids row i must belong to row i")
    for name, ids, n in (("image_ids", image_ids, len(image)), ("text_ids", text_ids, len(text))):
        if ids is not None and ids.shape != (n,):
            raise ValueError(f"{name} is {ids.shape}; expected ({n},), one per row")


def _sweep(plan: _Plan, image, text, image_ids, text_ids, log_scale, bias, with_grads) -> Found:
    meet = partial(
        compare, log_scale=log_scale, bias=bias, chunk_size=plan.chunk_size, with_grads=with_grads
    )
    images, texts = Side(image, image_ids), Side(text.astype(image.dtype), text_ids)
    if not plan.axes:
        return meet(images, texts)
    return _SWEEPS[plan.method](meet, images, texts, plan.axes)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(plan: _Plan, *args) -> dict[str, Array]:
    return _sweep(plan, *args, with_grads=False).sums


def _loss_forward(plan: _Plan, image, text, *rest):
    sums, d_image, d_text = _sweep(plan, image, text, *rest, with_grads=True)
    d_scalars = sums.pop("d_log_scale"), sums.pop("d_bias")
    return sums, (d_image.astype(image.dtype), d_text.astype(text.dtype), *d_scalars)


def _loss_backward(plan: _Plan, grads, cotangents: dict[str, Array]):
    factor = cotangents["total"]
    if plan.axes:
        alike = jax.lax.pmax(factor, plan.axes) == jax.lax.pmin(factor, plan.axes)
        factor = jnp.where(alike, factor, jnp.nan)
    d_image, d_text, d_log_scale, d_bias = jax.tree.map(
        lambda g: (factor * g.astype(jnp.float32)).astype(g.dtype), grads
    )
    return d_image, d_text, None, None, d_log_scale, d_bias


_loss.defvjp(_loss_forward, _loss_backward)


def _all_pairs(image, text, image_ids, text_ids, log_scale, bias) -> dict[str, Array]:
    rows, block = Side(image, image_ids), Side(text.astype(image.dtype), text_ids)
    meet = partial(compare, log_scale=log_scale, bias=bias, chunk_size=None, with_grads=False)
    return meet(rows, block).sums
