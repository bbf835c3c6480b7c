"""A toy program (linear regression on rows of which some are masked) for tests of the engine."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cogvit_jax import optim, sharding, train_step
from cogvit_jax.program import Loss, Program

ROWS = 32
RULES = ((".*", ()),)


def make_batch(index: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    """A pure function of its number: `x [n, 3]`, `y [n, 2]`, `mask [n]` with a ragged sum."""
    rng = np.random.default_rng(index)
    x, y = rng.standard_normal((rows, 3)), rng.standard_normal((rows, 2))
    mask = rng.random(rows) < rng.uniform(0.2, 0.9)
    return {name: a.astype(np.float32) for name, a in (("x", x), ("y", y), ("mask", mask))}


class ToyBatches:
    """Batches in memory; `on_batch(index, batch)` may change one or raise a signal."""

    def __init__(self, mesh: Any, state: dict | None, on_batch: Callable[..., Any]):
        self._mesh, self._on_batch = mesh, on_batch
        self._index = state["next"] if state else 0

    def __next__(self) -> dict[str, jax.Array]:
        batch, index = make_batch(self._index), self._index + 1
        batch = self._on_batch(index, batch) or batch
        self._index = index
        return sharding.put_batch(self._mesh, batch)

    @property
    def ids(self) -> list[str]:
        return [f"row/{self._index}/{i}" for i in range(3)]

    def stats(self) -> dict[str, float]:
        return {"data/handed_out": float(self._index)}

    def get_state(self) -> dict[str, int]:
        return {"next": self._index}

    def close(self) -> None:
        pass


class Toy:
    """What the tests of the engine build their runs from."""

    make_batch = staticmethod(make_batch)

    @staticmethod
    def program(mesh: Any, outputs: int = 2, noise: float = 0.0, **fields: Any) -> Program:
        """Squared error; `noise` is added to the inputs, so that the key matters."""
        on_batch = fields.pop("on_batch", lambda index, batch: None)

        def init(key: jax.Array) -> dict[str, Any]:
            kernel = jax.random.normal(key, (3, outputs))
            return {"linear": {"kernel": kernel, "bias": jnp.zeros(outputs)}}

        def loss(params: Any, frozen: Any, batch: Any, key: jax.Array) -> Loss:
            x = batch["x"] + noise * jax.random.normal(key, batch["x"].shape)
            error = x @ params["linear"]["kernel"] + params["linear"]["bias"][None]
            error = jnp.sum(jnp.square(error - jnp.pad(batch["y"], ((0, 0), (0, outputs - 2)))), 1)
            total, weight = jnp.sum(error * batch["mask"]), jnp.sum(batch["mask"])
            metrics = {"large": (jnp.sum((error > 1) * batch["mask"]), weight)}
            return Loss(total, weight, metrics | {"draw": (jax.random.uniform(key), jnp.ones(()))})

        return Program(
            init=init,
            loss=loss,
            batches=lambda state: ToyBatches(mesh, state, on_batch),
            mesh=mesh,
            num_examples=lambda batch: len(batch["x"]),
            **fields,
        )

    @staticmethod
    def config(steps: int = 6, **train: Any) -> ConfigDict:
        """A whole config for `train_loop.run`."""
        groups = {"weights": {"lr": 0.1, "weight_decay": 0.1}, "biases": {"lr": 0.05}}
        return ConfigDict(
            {
                "seed": 0,
                "mesh": {"rules": RULES},
                "optim": {
                    "groups": groups,
                    "group_rules": (("kernel$", "weights"), (".*", "biases")),
                    "algorithm_rules": ((".*", "adamw"),),
                    "decay_rules": (("kernel$", 1.0), (".*", 0.0)),
                },
                "train": {"steps": steps, "log_every": 1, "save_every": 2} | train,
            }
        )

    @classmethod
    def step(cls, program: Program, microbatches: int = 1) -> tuple[Any, Any, Any]:
        """(jitted step, fresh state, tree of group names)."""
        params = jax.eval_shape(program.init, jax.random.key(0))
        optimizer = optim.build(cls.config().optim, params, 100)
        shapes = train_step.state_shapes(program, optimizer.transform, 0)
        placed = train_step.state_shardings(program, RULES, shapes)
        state = train_step.init_state(program, optimizer.transform, 0, placed)
        step = train_step.make_step(
            program, optimizer.transform, optimizer.groups, placed, microbatches
        )
        return step, state, optimizer.groups


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    """The toy program's parts."""
    return Toy


@pytest.fixture(scope="session")
def eight() -> Any:
    """All eight devices, data-parallel."""
    return sharding.make_mesh(sharding.MeshSettings())
