"""How long the attention kernel takes on a TPU, as far as its compiled code says.

A kernel is opaque in a compiled program: it has no estimated cycles there. The compiler's dump of
its VLIW schedule (`LIBTPU_INIT_ARGS="--xla_jf_dump_to=DIR --xla_jf_dump_llo_text=true"`, files
`*schedule-analysis_final_bundles.txt`) counts its bundles, one per cycle: a lower bound, without
stalls and waits for memory. `benchmarks/attention.py --record` compiles the kernel for a row that
is one group of tiles, so that the count has no loop in it, and prints the table below: bundles per
row and tile of 128 features. An estimate is the larger of bundles / clock and bytes / bandwidth.
"""

import bisect

from cogvit_jax.topology import CHIPS

LIBTPU_VERSION = "0.0.42.1"
TILE = 128
# JAX devices that are two cores; the rows of a batch are split between them.
NUM_CORES = {"v4": 2, "v5p": 2}
# (chip, head dim) -> tokens -> bundles of forward and backward.
BUNDLES: dict[tuple[str, int], dict[int, tuple[float, float]]] = {}


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


def _interpolate(table: dict[int, tuple[float, float]], tokens: int, direction: int) -> float:
    """Bundles per token are close to linear in the number of tokens."""
    known = sorted(table)
    right = min(max(bisect.bisect_left(known, tokens), 1), len(known) - 1)
    low, high = known[right - 1], known[right]
    per_token = [table[t][direction] / t for t in (low, high)]
    share = (tokens - low) / (high - low)
    return tokens * (per_token[0] + share * (per_token[1] - per_token[0]))
