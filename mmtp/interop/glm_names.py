"""Names and layouts of GLM's language models in their files, and reading and writing by them.

Arrays of torch are (out, in), ours (in, out), and our side may be split into heads
(`cogvit_jax.interop.glm_vision`). Two of ours may lie one after the other in one array of theirs:
`mlp/gate` and `mlp/up` in `gate_up_proj`.

Shape letters: d width, h heads, g kv heads, k head dim, m hidden units, e experts, l layers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cogvit_jax import tree
from cogvit_jax.interop.files import Weights
from cogvit_jax.interop.glm_vision import Leaf, Shape, from_torch, to_torch
from mmtp.models.presets import DecoderConfig

# Without sandwich norms, "post_attention_layernorm" is before the MLP too.
NORMS = {
    "norm1": "input_layernorm",
    "post_norm1": "post_self_attn_layernorm",
    "norm2": "post_attention_layernorm",
    "post_norm2": "post_mlp_layernorm",
}
EXPERT = "{expert}"  # in a name: an array of each expert, which we stack
GATE_UP = "mlp/gate_up/kernel"
Flat = dict[str, np.ndarray]


def layer_leaves(config: DecoderConfig) -> dict[str, Leaf]:
    """Path in one of our blocks -> leaf, whose name lacks the layer's prefix."""
    leaves = _attention_leaves(config)
    names = [n for n in NORMS if config.sandwich_norms or not n.startswith("post_")]
    leaves |= {f"{n}/scale": _vector(f"{NORMS[n]}.weight", config.width) for n in names}
    if config.moe:
        return leaves | _moe_leaves(config)
    if config.sandwich_norms:  # of the families, those that fuse these two
        return leaves | {
            GATE_UP: _matrix("mlp.gate_up_proj.weight", config.width, 2 * config.mlp_dim),
            "mlp/down/kernel": _matrix("mlp.down_proj.weight", config.mlp_dim, config.width),
        }
    return leaves | _mlp_leaves("mlp", "mlp", config.width, config.mlp_dim)


def mtp_leaves(config: DecoderConfig) -> dict[str, Leaf]:
    """The same for a layer of multi-token prediction, whose own norm is the "shared head"'s."""
    width = config.width
    return {
        "enorm/scale": _vector("enorm.weight", width),
        "hnorm/scale": _vector("hnorm.weight", width),
        "proj/kernel": _matrix("eh_proj.weight", 2 * width, width),
        "norm/scale": _vector("shared_head.norm.weight", width),
    } | {f"block/{path}": leaf for path, leaf in layer_leaves(config).items()}


def read_layers(
    weights: Weights, leaves: Mapping[str, Leaf], prefixes: Sequence[str], dtype: Any
) -> dict[str, Any]:
    """Our tree of layers of one kind, every leaf stacked `[l, …]` in `dtype`; routers are f32.

    One array at a time is in memory in f32.

    Args:
        weights: the language model's.
        leaves: of one layer.
        prefixes: of the layers' names, such as "layers.3.".
        dtype: NumPy's.

    Raises:
        WeightsError: a missing array, or one of another shape.
    """
    found: Flat = {}
    for path, leaf in leaves.items():
        stack = np.empty((len(prefixes), *leaf.ours), np.float32 if "router" in path else dtype)
        for i, prefix in enumerate(prefixes):
            if EXPERT not in leaf.name:
                stack[i] = from_torch(weights.take(prefix + leaf.name, leaf.shape), leaf.ours)
                continue
            for expert in range(leaf.ours[0]):
                name = prefix + leaf.name.replace(EXPERT, str(expert))
                stack[i, expert] = from_torch(weights.take(name, leaf.shape), leaf.ours[1:])
        found[path] = stack
    return tree.unflatten(_split_gate_up(found))


def layer_arrays(
    params: Mapping[str, Any], leaves: Mapping[str, Leaf], prefixes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Name -> array in torch's layout: the inverse of `read_layers`, for layers without experts."""
    flat = _join_gate_up({name: np.asarray(x) for name, x in tree.named_leaves(params)})
    return {
        prefix + leaf.name: to_torch(flat[path][i], leaf.shape)
        for i, prefix in enumerate(prefixes)
        for path, leaf in leaves.items()
    }


def _split_gate_up(flat: Flat) -> Flat:
    split: Flat = {}
    for path, x in flat.items():
        if not path.endswith(GATE_UP):
            split[path] = x
            continue
        start = path.removesuffix(GATE_UP)
        for name, half in zip(("gate", "up"), np.split(x, 2, axis=-1), strict=True):
            split[f"{start}mlp/{name}/kernel"] = np.ascontiguousarray(half)
    return split


def _join_gate_up(flat: Flat) -> Flat:
    """`mlp/gate` and `mlp/up` as one array, wherever they are."""
    joined = dict(flat)
    for path in flat:
        if path.endswith("mlp/gate/kernel"):
            start = path.removesuffix("mlp/gate/kernel")
            halves = [joined.pop(f"{start}mlp/{name}/kernel") for name in ("gate", "up")]
            joined[start + GATE_UP] = np.concatenate(halves, axis=-1)
    return joined


def _attention_leaves(config: DecoderConfig) -> dict[str, Leaf]:
    width, size = config.width, config.head_dim
    heads = {"query": config.num_heads, "key": config.num_kv_heads, "value": config.num_kv_heads}
    leaves: dict[str, Leaf] = {}
    for name, num in heads.items():
        theirs = f"self_attn.{name[0]}_proj"
        shape = (num * size, width)
        leaves[f"attention/{name}/kernel"] = Leaf(f"{theirs}.weight", shape, (width, num, size))
        if config.qkv_bias:
            leaves[f"attention/{name}/bias"] = Leaf(f"{theirs}.bias", shape[:1], (num, size))
    out = (config.num_heads, size, width)
    shape = (width, config.num_heads * size)
    return leaves | {"attention/out/kernel": Leaf("self_attn.o_proj.weight", shape, out)}


def _moe_leaves(config: DecoderConfig) -> dict[str, Leaf]:
    moe, width = config.moe, config.width
    assert moe is not None
    leaves = {
        "moe/router/kernel": _matrix("mlp.gate.weight", width, moe.num_experts),
        "moe/router/bias": _vector("mlp.gate.e_score_correction_bias", moe.num_experts),
    }
    each = _mlp_leaves("moe/experts", f"mlp.experts.{EXPERT}", width, moe.expert_dim)
    leaves |= {p: Leaf(x.name, x.shape, (moe.num_experts, *x.ours)) for p, x in each.items()}
    if moe.num_shared:
        hidden = moe.num_shared * moe.expert_dim
        leaves |= _mlp_leaves("moe/shared", "mlp.shared_experts", width, hidden)
    return leaves


def _mlp_leaves(ours: str, theirs: str, width: int, hidden: int) -> dict[str, Leaf]:
    sizes = {"gate": (width, hidden), "up": (width, hidden), "down": (hidden, width)}
    return {
        f"{ours}/{name}/kernel": _matrix(f"{theirs}.{name}_proj.weight", *size)
        for name, size in sizes.items()
    }


def _matrix(name: str, rows: int, columns: int) -> Leaf:
    """Ours is `[rows, columns]`."""
    shape: Shape = (columns, rows)
    return Leaf(name, shape, shape[::-1])


def _vector(name: str, size: int) -> Leaf:
    return Leaf(name, (size,), (size,))
