"""Random parameters for a model under test."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def random_params(init: Callable[..., Any], *inputs: Any, seed: int = 0) -> Any:
    """Parameters of the shapes that `init(key, *inputs)` gives, every one of them random.

    Unlike at initialisation no gain is 1 and no bias 0, so that none can be mixed up unseen. Takes
    no compilation.
    """
    shapes = jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(seed)

    def draw(path: Any, x: Any) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        noise = rng.standard_normal(x.shape).astype(np.float32)
        if name.endswith("kernel"):
            return noise / math.sqrt(max(x.shape))
        if name.endswith("/scale"):
            return 1 + 0.3 * noise
        inputs = name.endswith(("embedding", "positions", "probe"))
        return noise if inputs else 0.3 * noise

    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(draw, shapes))
