"""PyTorch's layers, numbered one by one, as our parameters, stacked over the blocks."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from cogvit_jax import tree
from cogvit_jax.interop.files import Weights, WeightsError

# The last part of our names -> PyTorch's.
LEAVES = {"kernel": "weight", "bias": "bias", "scale": "weight"}


def read(weights: Weights, shapes: Any, modules: Mapping[str, str]) -> dict[str, Any]:
    """Arrays for a tree of `jax.ShapeDtypeStruct`s.

    Args:
        weights: the checkpoint.
        shapes: our parameters; `kernel [in, out]` is PyTorch's `weight [out, in]`.
        modules: our name of a layer -> its name in the checkpoint, where `{}` is a block's number.

    Raises:
        WeightsError: a missing key, or another shape.
    """

    def array(name: str, struct: jax.ShapeDtypeStruct) -> np.ndarray:
        layer, leaf = name.rsplit("/", 1)
        key = f"{modules[layer]}.{LEAVES[leaf]}"
        if "{}" in key:
            return read_blocks(weights, struct, key, transpose=leaf == "kernel")
        return _take(weights, key, struct.shape, leaf == "kernel").astype(struct.dtype)

    return tree.map_named(array, shapes)


def read_blocks(
    weights: Weights, struct: jax.ShapeDtypeStruct, key: str, transpose: bool = False
) -> np.ndarray:
    """One array of all blocks, stacked on axis 0; `{}` in `key` is a block's number."""
    blocks = np.empty(struct.shape, struct.dtype)
    for i in range(len(blocks)):
        blocks[i] = _take(weights, key.format(i), struct.shape[1:], transpose)
    return blocks


def read_convolution(
    weights: Weights, shapes: Mapping[str, Any], name: str, patch_size: int
) -> dict[str, Any]:
    """A convolution whose stride is its size as a matrix of patches.

    PyTorch's weight is `[out, channel, row, column]`; our patches hold (row, column, channel).
    """
    kernel, bias = shapes["kernel"], shapes["bias"]
    sides = (patch_size, patch_size)
    weight = weights.take(f"{name}.weight", (kernel.shape[1], 3, *sides)).transpose(2, 3, 1, 0)
    return {
        "kernel": weight.reshape(kernel.shape).astype(kernel.dtype),
        "bias": weights.take(f"{name}.bias", bias.shape).astype(bias.dtype),
    }


def require_all_used(weights: Weights, but: tuple[str, ...], model: str) -> None:
    """Raises WeightsError if arrays are left over, apart from those whose names start with `but`.

    A larger or other model of the same widths would otherwise load in part.
    """
    left = [name for name in weights.unused() if not name.startswith(but)]
    if left:
        raise WeightsError(
            f"{weights.path}: {len(left)} arrays are no part of {model}, such as {left[0]!r} "
            f"{weights.shape(left[0])}: set kind and size to what the checkpoint is."
        )


def require_config(
    weights: Weights, config: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Raises WeightsError if the config.json disagrees about what shapes do not show.

    An entry that it lacks is not checked.
    """
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise WeightsError(
                f"config.json of {weights.path}: {name!r} is {config[name]!r}, expected {value!r}: "
                "set kind and size to what the checkpoint is."
            )


def _take(weights: Weights, key: str, shape: tuple[int, ...], transpose: bool) -> np.ndarray:
    return weights.take(key, shape[::-1]).T if transpose else weights.take(key, shape)
