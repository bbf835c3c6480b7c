"""An encoder whose features are known: each patch's mean colour and its place."""

from typing import Any

import jax.numpy as jnp
import pytest

from cogvit_jax.evals.embed import Embedder, of_patches


@pytest.fixture
def known_encoder(make_mesh):
    """(devices, patch_size, length, batch_size) -> Embedder of `[red, green, blue, row, column]`.

    Colours are 0 to 1; parameters are five factors.
    """

    def features(params: Any, image: Any) -> Any:
        patches = image["patches"].astype(jnp.float32) / 255
        colour = patches.reshape(*patches.shape[:2], -1, 3).mean(2)
        both = jnp.concatenate([colour, image["positions"].astype(jnp.float32)], axis=-1)
        return both * params[None, None]

    def make(devices: int = 1, patch_size: int = 2, length: int = 16, batch: int = 8) -> Embedder:
        return of_patches(features, make_mesh(devices), patch_size, length, batch)

    return make
