"""What every category keeps; see `contract`. Other files test what is special about each."""

import pytest

from rl.answers.reply import answer_of
from rl.envs import CATEGORIES, make_task
from tests.rl.envs import contract

EPISODES = [name for name, category in CATEGORIES.items() if category.step is not None]


@pytest.mark.parametrize("difficulty", range(5))
@pytest.mark.parametrize("name", CATEGORIES)
def test_oracle_distractors_and_bytes(name, difficulty):
    for seed in range(2):
        contract.check(CATEGORIES[name], seed, difficulty)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", range(5))
@pytest.mark.parametrize("name", CATEGORIES)
def test_oracle_distractors_and_bytes_of_more(name, difficulty):
    for seed in range(2, 8):
        contract.check(CATEGORIES[name], seed, difficulty)


@pytest.mark.parametrize("name", CATEGORIES)
def test_hostile_replies(name):
    category = CATEGORIES[name]
    legitimate = {reply.casefold() for reply in contract.HOSTILE}
    seed = next(s for s in range(3, 40) if right(category, s).casefold() not in legitimate)
    contract.check_hostile(category, seed)


@pytest.mark.parametrize("name", EPISODES)
def test_an_episode_goes_on_elsewhere(name):
    contract.check_resume(CATEGORIES[name], 2)


def test_names_are_keys():
    assert all(name == category.name for name, category in CATEGORIES.items())


def right(category, seed):
    return answer_of(category.oracle(make_task(category, seed, 0))[-1]) or ""
