"""Figures with an embedder whose answers are known, unreadable pictures included."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.data.records import Record
from cogvit_jax.data.text import load_tokenizer
from cogvit_jax.evals.embed import Embedder
from cogvit_jax.evals.suite.copies import Classification, Matching, Retrieval
from cogvit_jax.evals.suite.measure import measure

COLOURS = ("red", "green", "blue")
BROKEN = -1


@dataclasses.dataclass(frozen=True)
class Squares:
    """Squares of one of three colours each; BROKEN cannot be read."""

    colours: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.colours)

    def __getitem__(self, index: int) -> Record:
        colour = self.colours[index]
        pixels = np.full((14, 14, 3), np.eye(3)[colour] * 255, np.uint8)
        return Record(f"square {index}", b"" if colour == BROKEN else pixels, ())


@pytest.fixture
def embedder(make_mesh):
    """A picture's mean colour; the colour that a text names."""
    tokenizer = load_tokenizer()
    table = {tuple(tokenizer.encode(c)): i for i, c in enumerate(COLOURS)}

    def embed_images(params, image):
        colour = jnp.mean(image["patches"].astype(jnp.float32).reshape(-1, 196, 3), axis=1)
        return colour / jnp.linalg.norm(colour + 1e-9, axis=-1, keepdims=True)

    def embed_texts(params, tokens):
        ids = [tuple(int(i) for i in row if i not in (tokenizer.pad_id, tokenizer.eos_id))
               for row in np.asarray(tokens)]  # fmt: skip
        rows = [np.eye(3)[table[i]] if i in table else np.zeros(3) for i in ids]
        return jnp.asarray(np.stack(rows), jnp.float32)

    width = max(map(len, table)) + 2
    return Embedder(
        jax.jit(embed_images), embed_texts, make_mesh(2), tokenizer, width, 14, 1, batch_size=2
    )


def test_classification_leaves_out_what_cannot_be_read(embedder):
    colours = (0, 1, BROKEN, 2, 2, *range(3)) * 5  # more than one stretch of batches
    labels = np.asarray([max(c, 0) for c in colours])
    labels[:2] = labels[1::-1]  # two mistakes
    groups = np.arange(len(colours)) % 4
    copy = Classification(Squares(colours), labels, groups, COLOURS, ("{}",))
    seen = []
    found, unreadable = measure(embedder, {}, copy, lambda done, total: seen.append((done, total)))
    assert unreadable == 5
    assert found["acc1"] == pytest.approx(33 / 35)
    # The mistakes are in groups 0 and 1, of 10 readable pictures each; 2 has the broken ones.
    assert found["worst_group_acc1"] == pytest.approx(9 / 10)
    assert found["acc5"] == found["worst_group_acc5"] == 1
    assert seen[-1] == (40, 40)
    assert len(seen) > 1


def test_retrieval_keeps_captions_with_their_pictures(embedder):
    copy = Retrieval(
        Squares((BROKEN, 0, 1, 2)), ["green", "red", "green", "blue"], [(0,), (1,), (2,), (3,)]
    )
    found, unreadable = measure(embedder, {}, copy, lambda done, total: None)
    assert unreadable == 1
    # The first caption, whose picture is gone, is no query.
    assert found["i2t_r1"] == found["t2i_r1"] == found["mean_recall_1"] == 1


def test_matching_reports_the_larger_instances(embedder):
    pictures = Squares((0, 1, 2, *[1] * 9, BROKEN))
    many, few = np.arange(12), np.arange(5)
    copy = Matching(
        pictures,
        ["red", "blue", "red", "red"],
        [many, many, few, np.asarray([0, 12])],  # the last has a picture that cannot be read
        [many == 0, many == 3, few <= 1, np.asarray([True, False])],
    )
    found, unreadable = measure(embedder, {}, copy, lambda done, total: None)
    assert unreadable == 1
    assert found["jaccard"] == pytest.approx((1 + 0) / 2)
    # Red is found; green, as far from "red" as blue, loses the tie.
    assert found["jaccard_5_6"] == pytest.approx(1 / 3)


def test_a_copy_without_a_readable_picture_is_an_error(embedder):
    copy = Retrieval(Squares((BROKEN,)), ["red"], [(0,)])
    with pytest.raises(ValueError, match="none of the 1 pictures can be read"):
        measure(embedder, {}, copy, lambda done, total: None)
