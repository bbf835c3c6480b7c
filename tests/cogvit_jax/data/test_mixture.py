"""Mixtures of sources as the user writes them: `spec@weight,spec@weight`."""

import pytest

from cogvit_jax.data import mixture, pairs
from cogvit_jax.data.records import Source
from cogvit_jax.settings import ConfigError


@pytest.fixture
def sources(monkeypatch):
    """Puts own sources in the place of `open_source`'s: name -> records."""
    known = {}
    monkeypatch.setattr(mixture, "open_source", lambda spec: Source(spec, known[spec]))
    return known


@pytest.mark.parametrize("text", ["b@", "b@-1", "b@0", "b@nan", "b@inf", "b@c", "a,b@c"])
def test_bad_weights_name_field_and_part(sources, text):
    sources |= {"a": ["r"] * 2, "b": ["r"] * 3}
    with pytest.raises(ConfigError, match=r"config\.data\.train: 'b@.*needs a positive number"):
        mixture.open_mixture(text, "config.data.train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: name a source"),
        (" , ", "is empty: name a source"),
        ("@1", "unknown scheme ''"),
        ("foldr:/pictures", "did you mean 'folder:'"),
        ("embedded:digit/train", "Use 'embedded:digits/train'"),
    ],
)
def test_bad_sources_name_field_and_remedy(text, message):
    with pytest.raises(ConfigError, match=rf"config\.data\.train.*{message}"):
        mixture.open_mixture(text, "config.data.train")


def test_weights_default_to_one_and_may_be_mixed(sources):
    sources |= {"a": ["r"] * 2, "b": ["r"] * 3, "c@d": ["r"] * 4}
    opened, weights = mixture.open_mixture(" a , b@2, c@d@0.5", "config.data.train")
    assert [s.name for s in opened] == ["a", "b", "c@d"]
    assert weights == (1.0, 2.0, 0.5)


def test_commas_in_braces_and_brackets_belong_to_a_source(sources):
    sources |= {"x:{1,2}.tar": ["r"], "y:[:1,000]": ["r"]}
    opened, weights = mixture.open_mixture("x:{1,2}.tar@0.5,y:[:1,000]", "config.data.train")
    assert [s.name for s in opened] == ["x:{1,2}.tar", "y:[:1,000]"]
    assert weights == (0.5, 1.0)


def test_equal_concepts_share_a_pair_id():
    assert pairs.pair_id("digit 7") == pairs.pair_id("digit 7") != pairs.pair_id("digit 8")
    assert 0 <= pairs.pair_id("数字七") < 2**31
