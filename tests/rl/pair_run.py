"""`rl.main` with rewards that differ, with what its steps leave behind in a file, and with faults.

    python -m tests.rl.pair_run FLAGS OF rl.main [--break=engine|part|score] NOTES

A reward is a function of the reply, since an untrained model is never right. Each process adds a
line per step to NOTES: the loss, and a number of every parameter.
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from cogvit_jax import train_loop, tree
from mmtp.generate import Engine
from rl import main
from rl.programs.rl_engines import Engines
from rl.types import Verdict
from rl.weights import Publisher

NOTES: list[str] = []  # where they go
take_step, write_part = train_loop.take_step, Publisher._write_part


@jax.jit
def prints(params):
    """Of every parameter a number that changes with any of its own."""

    def of(x):
        waves = jnp.cos(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)
        return jnp.sum(x * waves)

    return {name: of(x) for name, x in tree.named_leaves(params)}


def noting(path):
    """`take_step` that also writes down what a step did."""

    def step(setup, state, tools):
        state, measured = take_step(setup, state, tools)
        line = {"step": int(state.step), "loss": float(measured["loss"])}
        found = {name: float(x) for name, x in prints(state.params).items()}
        with open(path, "a") as file:
            file.write(json.dumps(line | {"params": found}) + "\n")
        return state, measured

    return step


async def score(self, rollout):
    """A number from 0 to 1 for each reply."""
    return Verdict("value", hashlib.sha256(rollout.reply.encode()).digest()[0] / 255, "its hash")


async def never(self, rollout):
    """Waits for a judge that does not come; notes that it is asked."""
    Path(f"{NOTES[0]}.judging").touch()
    await asyncio.sleep(10_000)


def break_engine(*_, **__):
    """What a device does that is lost."""
    raise RuntimeError("the device of this test is broken")


def break_part(self, *args):
    """A disk that is full on process 1."""
    if jax.process_index() == 1:
        raise OSError("the disk of this test is full")
    return write_part(self, *args)


BREAK = {
    "--break=engine": lambda: setattr(Engine, "advance", break_engine),
    "--break=score": lambda: setattr(Engines, "score", never),
    "--break=part": lambda: setattr(Publisher, "_write_part", break_part),
}


if __name__ == "__main__":
    NOTES.append(sys.argv.pop())
    train_loop.take_step = noting(NOTES[0])
    Engines.score = score
    for fault in BREAK.keys() & set(sys.argv):
        sys.argv.remove(fault)
        BREAK[fault]()
    main.cli()
