"""Chunked cross-entropy beside full logits: memory compiled, time measured, in turns.

    python -m benchmarks.cross_entropy
    python -m benchmarks.cross_entropy --tokens 1024 --width 256 --block 1024

Value and gradients of the mean loss, bf16 hidden states, f32 matrix, on one device of whatever kind
is here. `full` is the textbook form, logits in f32 and `logsumexp`, differentiated by JAX.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from mmtp.losses.cross_entropy import token_losses


def full(hidden: jax.Array, matrix: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean loss from all logits at once."""
    columns = matrix.astype(hidden.dtype)
    logits = jnp.matmul(hidden, columns, preferred_element_type=jnp.float32)
    label_logits = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - label_logits)


def compiled(loss: Any, tokens: int, width: int, vocab: int) -> tuple[Any, tuple[jax.Array, ...]]:
    """The executable of value and gradients, and its inputs."""
    keys = jax.random.split(jax.random.key(0), 3)
    arrays = (
        jax.random.normal(keys[0], (tokens, width), jnp.bfloat16),
        0.02 * jax.random.normal(keys[1], (width, vocab)),
        jax.random.randint(keys[2], (tokens,), 0, vocab),
    )
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*arrays).compile(), arrays


def measure(runs: list[tuple[Any, tuple[jax.Array, ...]]], rounds: int) -> list[float]:
    """Median milliseconds of each, all in turns; the first round warms up."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for (executable, arrays), seconds in zip(runs, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(executable(*arrays))
            seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds[1:]) * 1e3 for seconds in times]


def main() -> None:
    """Prints one row per vocabulary and variant."""
    parser = argparse.ArgumentParser(description="Chunked cross-entropy beside full logits.")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--vocab", default="4096,16384,59392", help="comma-separated")
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    def chunked(hidden: jax.Array, matrix: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.mean(token_losses(hidden, matrix, labels, block=args.block).nll)

    title = f"{args.tokens} tokens x {args.width}, {jax.devices()[0].device_kind}"
    table = Table("vocabulary", "variant", "temporaries MB", "median ms", title=title)
    for vocab in map(int, args.vocab.split(",")):
        variants = {"full": full, "chunked": chunked}
        runs = [compiled(f, args.tokens, args.width, vocab) for f in variants.values()]
        times = measure(runs, args.rounds)
        for name, (executable, _), milliseconds in zip(variants, runs, times, strict=True):
            megabytes = executable.memory_analysis().temp_size_in_bytes / 1e6
            table.add_row(str(vocab), name, f"{megabytes:.1f}", f"{milliseconds:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
