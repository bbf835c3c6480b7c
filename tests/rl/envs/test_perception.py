"""Perception: contracts, and what is special about each category."""

import pytest

from rl.envs import CATEGORIES
from tests.rl.envs import contract

NAMES = ("attributes",)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("difficulty", range(5))
def test_contract(name, difficulty):
    for seed in range(4):
        contract.check(CATEGORIES[name], seed, difficulty)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_replies(name):
    contract.check_hostile(CATEGORIES[name], 3)
