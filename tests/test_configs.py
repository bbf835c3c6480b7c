"""Every config file builds; its smoke variant trains, evaluates and saves."""

import importlib.util
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from cogvit_jax import metrics, optim, sharding, train_loop, tree
from cogvit_jax.programs import build

FILES = sorted(p for p in (Path(__file__).parents[1] / "configs").glob("*.py"))
