"""How long the attention kernel takes on a TPU, as far as its compiled code says.

A kernel is opaque in a compiled program: it has no estimated cycles there. The compiler's dump of
its VLIW schedule (`LIBTPU_INIT_ARGS="--xla_jf_dump_to=DIR --xla_jf_dump_llo_text=true"`, files
`*schedule-analysis_final_bundles.txt`) counts its bundles, one per cycle: a lower bound, without
stalls and waits for memory. `python -m benchmarks.attention --record` compiles the kernel for a row
of one group of tiles, so that the count has no loop in it, and prints the table below: bundles per
row and tile of 128 features. An estimate is the larger of bundles / clock and bytes / bandwidth.
"""

import bisect
import math
from collections.abc import Sequence

from cogvit_jax.topology import CHIPS

LIBTPU_VERSION = "0.0.42.1"
TILE = 128
# JAX devices that are two cores; the rows of a batch are split between them.
NUM_CORES = {"v4": 2, "v5p": 2}
# (chip, head dim) -> tokens -> bundles of forward and backward.
BUNDLES: dict[tuple[str, int], dict[int, tuple[int, int]]] = {
    ("TPU7x", 64): {128: (217, 481), 256: (649, 1048), 512: (1686, 3487), 1024: (5650, 11712)},
    ("v4", 64): {128: (542, 969), 256: (1392, 2619), 512: (4050, 8413)},
    ("v5e", 32): {128: (536, 800), 256: (1207, 2083), 512: (4066, 8306), 1024: (14852, 35299)},
    ("v5e", 64): {
        128: (302, 550),
        256: (797, 1434),
        512: (2438, 5019),
        1024: (8499, 19022),
        2048: (31423, 72624),
    },
    ("v5e", 128): {128: (248, 433), 256: (604, 1118), 512: (1724, 3706), 1024: (6129, 13324)},
    ("v5p", 32): {128: (556, 825), 256: (1255, 2162), 512: (4146, 8459), 1024: (14939, 35700)},
    ("v5p", 64): {
        128: (319, 576),
        256: (815, 1504),
        512: (2539, 5149),
        1024: (8948, 19156),
        2048: (32712, 72492),
    },
    ("v5p", 128): {128: (258, 455), 256: (636, 1185), 512: (1807, 3936), 1024: (6268, 13572)},
    ("v6e", 32): {128: (267, 707), 256: (1045, 1478), 512: (2781, 5653), 1024: (10953, 22717)},
    ("v6e", 64): {
        128: (206, 441),
        256: (632, 963),
        512: (1676, 3315),
        1024: (5926, 13315),
        2048: (23965, 48137),
    },
    ("v6e", 128): {128: (186, 321), 256: (456, 711), 512: (1087, 2245), 1024: (3335, 7853)},
}


def estimated_seconds(
    batch: int, tokens: int, heads: int, head_dim: int, chip: str, backward: bool
) -> float:
    """Least time of one call of the kernel on one device, with QK-norm, RoPE and segments.

    Args:
        batch: rows per device.
        tokens: per row; padded to whole tiles of 128.
        heads: per device.
        head_dim: 32, 64 or 128.
        chip: "v5e", "v5p", "v6e": a chip's name in `topology.CHIPS`.
        backward: of the backward kernel, else of the forward.

    Raises:
        KeyError: no figures for that chip and head dim.
    """
    tokens = -(-tokens // TILE) * TILE
    figures = next(c for c in CHIPS.values() if c.name == chip)
    width = heads * head_dim
    per_tile = _interpolate(BUNDLES[chip, head_dim], tokens, int(backward))
    cycles = batch * (width / TILE) * per_tile / NUM_CORES.get(chip, 1)
    # bf16: q, k, v and out; or q, k, v, their gradients and that of out.
    num_bytes = 2 * batch * tokens * width * (7 if backward else 4)
    return max(cycles / figures.clock, num_bytes / figures.hbm_bandwidth)


def call_seconds(name: str, results: Sequence[Sequence[int]], chip: str) -> float | None:
    """The same for a call in a compiled program, by its scope and the dims of its results.

    Args:
        name: contains `attention_forward` or `attention_backward`.
        results: dims of out `[b, t, d]` and statistics `[b, h, 2, t]`; or of the gradients of qkv,
            `[b, t, 3d]` or three of `[b, t, d]`, and of the gains `[b, 2, k, lanes]`.
        chip: as above.

    Returns:
        Seconds, or None for another kernel or where there are no figures.
    """
    backward = "attention_backward" in name
    if not backward and "attention_forward" not in name:
        return None
    batch, tokens, _ = results[0]
    width = sum(dims[2] for dims in results if len(dims) == 3) // (3 if backward else 1)
    statistics = next(dims for dims in results if len(dims) == 4)
    head_dim = statistics[2] if backward else width // statistics[1]
    if (chip, head_dim) not in BUNDLES:
        return None
    return estimated_seconds(batch, tokens, width // head_dim, head_dim, chip, backward)


def splash_flops(name: str, operands: Sequence[Sequence[int]]) -> float:
    """FLOPs of one call of JAX's splash attention with a causal mask, which it does not tell.

    Args:
        name: of the call in the compiled program; another kernel's has none.
        operands: dims of what it is given; queries `[…, h, t, k]` have the most heads.
    """
    # Products of [t, k] and [t, t]: logits and outputs; with gradients' and without outputs'.
    products = {"splash_mha_fwd": 2, "splash_mha_dq": 3, "splash_mha_dkv": 4}
    number = next((n for prefix, n in products.items() if prefix in name), 0)
    if not number:
        return 0.0
    queries = max((dims for dims in operands if len(dims) >= 3), key=math.prod)
    *batch, tokens, head_dim = queries
    return number * 2.0 * math.prod(batch) * tokens**2 * head_dim / 2


def _interpolate(table: dict[int, tuple[int, int]], tokens: int, direction: int) -> float:
    """Bundles per token are close to linear in the number of tokens."""
    known = sorted(table)
    right = min(max(bisect.bisect_left(known, tokens), 1), len(known) - 1)
    low, high = known[right - 1], known[right]
    per_token = [table[t][direction] / t for t in (low, high)]
    share = (tokens - low) / (high - low)
    return tokens * (per_token[0] + share * (per_token[1] - per_token[0]))
