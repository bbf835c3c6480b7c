"""Multi-token prediction in float64 NumPy, one document at a time, with every convention a branch.

Written from the equations, and apart from the package: documents are cut out of their rows, so
nothing here needs a mask, a segment or a shifted array.
"""

import numpy as np


def rms_norm(x, params, eps):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps) * params["scale"]


def rotate(x, positions, config):
    """`[n, heads, k]` turned by `[n, 3]` positions."""
    out = x.copy()
    half = config.rotary_dim // 2
    axes = [i % 3 for i, size in enumerate(config.mrope_sections) for _ in range(size)]
    for pair in range(half):
        angle = positions[:, axes[pair]] * config.rope_theta ** (-2 * pair / config.rotary_dim)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = (2 * pair, 2 * pair + 1) if config.rope_interleaved else (pair, pair + half)
        out[..., a] = x[..., a] * cos - x[..., b] * sin
        out[..., b] = x[..., b] * cos + x[..., a] * sin
    return out


def attention(x, positions, usable, params, config):
    """Place i sees itself and usable places before it."""
    q, k, v = (
        np.einsum("nd,dhk->nhk", x, params[name]["kernel"]) for name in ("query", "key", "value")
    )
    q, k = (rotate(y, positions, config) for y in (q, k))
    out = np.zeros_like(q)
    for i in range(len(x)):
        seen = [j for j in range(i + 1) if j == i or usable[j]]
        for head in range(config.num_heads):
            group = head * config.num_kv_heads // config.num_heads
            logits = k[seen, group] @ q[i, head] / np.sqrt(config.head_dim)
            shares = np.exp(logits - logits.max())
            out[i, head] = shares / shares.sum() @ v[seen, group]
    return np.einsum("nhk,hkd->nd", out, params["out"]["kernel"])


def block(x, positions, usable, params, config):
    """A decoder's layer with sandwich norms."""
    eps = config.norm_eps
    out = attention(
        rms_norm(x, params["norm1"], eps), positions, usable, params["attention"], config
    )
    x = x + rms_norm(out, params["post_norm1"], eps)
    y, mlp = rms_norm(x, params["norm2"], eps), params["mlp"]
    gate, up = y @ mlp["gate"]["kernel"], y @ mlp["up"]["kernel"]
    out = (gate / (1 + np.exp(-gate)) * up) @ mlp["down"]["kernel"]
    return x + rms_norm(out, params["post_norm2"], eps)


def embedding(token, visual, own_visual, first, chosen):
    """(what a place is fed, whether others see it) of one token."""
    e, usable = chosen["table"][token], True
    if visual:
        arm = chosen["arm"]
        if arm == "visual":
            e = own_visual
        elif arm in ("zeros", "keys"):
            e, usable = np.zeros_like(e), arm == "zeros"
        elif chosen["image"] is not None:
            e = chosen["image"]
    if first and chosen["zero_first"]:
        e = np.zeros_like(e)
    return e, usable


def run(document, params, final_norm, config, depth, chosen):
    """Normed hidden states `[n - k, d]` of depths k = 1 … `depth`.

    Args:
        document: tokens `[n]`, visual `[n]` bool, positions `[n, 3]`, x and hidden `[n, d]`.
        params: layers' parameters, a list; used in turn.
        final_norm: the decoder's.
        config: of the decoder.
        depth: D.
        chosen: the six conventions by name, and arm, table, image.
    """
    n, eps = len(document["tokens"]), config.norm_eps
    h = document["hidden"]
    if chosen["hidden"] == "post":
        h = rms_norm(h, final_norm, eps)
    results = []
    for k in range(1, depth + 1):
        own = params[(k - 1) % len(params)]
        fed = [
            embedding(
                document["tokens"][i + k],
                document["visual"][i + k],
                document["x"][i + k],
                i == 0,
                chosen,
            )
            for i in range(max(n - k, 0))
        ]
        if not fed:
            results.append(np.zeros((0, config.width)))
            continue
        e, usable = np.stack([e for e, _ in fed]), [u for _, u in fed]
        parts = [rms_norm(e, own["enorm"], eps), rms_norm(h[: n - k], own["hnorm"], eps)]
        if chosen["concat"] == "hidden_first":
            parts = parts[::-1]
        x = np.concatenate(parts, axis=1) @ own["proj"]["kernel"]
        shift = k if chosen["position"] == "next" else 0
        positions = document["positions"][shift : shift + n - k]
        out = block(x, positions, usable, own["block"], config)
        normed = rms_norm(out, own["norm"] if chosen["own_norm"] else final_norm, eps)
        results.append(normed)
        h = normed if chosen["chain"] == "post" else out
    return results
