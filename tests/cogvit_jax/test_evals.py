"""Retrieval recall, zero-shot accuracy and galleries on embeddings whose answer is known."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.text import load_tokenizer
from cogvit_jax.evals.embed import Embedder
from cogvit_jax.evals.gallery import gallery
from cogvit_jax.evals.retrieval import recall, retrieval
from cogvit_jax.evals.zero_shot import zero_shot
from cogvit_jax.plots import curves

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
NAMES = {"en": tuple(COLOURS), "zh": ("红色", "绿色", "蓝色")}
CAPTIONS = [f"a {en} square" for en in NAMES["en"]] + [f"{zh}的方块" for zh in NAMES["zh"]]


@dataclasses.dataclass(frozen=True)
class Squares:
    """Coloured squares; every fifth is corrupt when `broken`."""

    count: int
    broken: bool = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Record:
        if self.broken and index % 5 == 4:
            raise CorruptRecord(f"square {index}")
        label = index % 3
        pixels = np.full((14, 14, 3), list(COLOURS.values())[label], np.uint8)
        return Record(f"sq/{index}", pixels, (CAPTIONS[label], CAPTIONS[3 + label]), label=label)


def colour_embedder(mesh, batch_size: int = 8) -> Embedder:
    """Embeds a picture as its mean colour, a text as the colour that its tokens name."""
    tokenizer = load_tokenizer()
    table = {tuple(tokenizer.encode(c)): i % 3 for i, c in enumerate(CAPTIONS)}
    width = max(map(len, table)) + 2

    def embed_images(params, image):
        colour = jnp.mean(image["patches"].astype(jnp.float32).reshape(-1, 196, 3), axis=1)
        return colour / jnp.linalg.norm(colour + 1e-9, axis=-1, keepdims=True)

    def embed_texts(params, tokens):
        rows = []
        for row in np.asarray(tokens):
            ids = tuple(int(i) for i in row if i not in (tokenizer.pad_id, tokenizer.eos_id))
            rows.append(np.eye(3)[table[ids]] if ids in table else np.zeros(3))
        return jnp.asarray(np.stack(rows), jnp.float32)

    return Embedder(jax.jit(embed_images), embed_texts, mesh, tokenizer, width, 14, 1, batch_size)


def squares(count: int, broken: bool = False) -> Source:
    templates = {"en": ("a {} square",), "zh": ("{}的方块",)}
    return Source("squares", Squares(count, broken), NAMES, templates)


@pytest.mark.parametrize("num_devices", [1, 8])
@pytest.mark.parametrize("count", [1, 7, 8, 19])
def test_zero_shot_is_right_for_any_number_of_pictures_and_devices(make_mesh, num_devices, count):
    found = zero_shot(colour_embedder(make_mesh(num_devices)), squares(count), {})
    assert found == {"en": 1.0, "zh": 1.0}


def test_zero_shot_counts_mistakes(make_mesh):
    wrong = dataclasses.replace(squares(9), classes={"en": ("red", "blue", "green")})
    assert zero_shot(colour_embedder(make_mesh(1)), wrong, {}) == {"en": pytest.approx(1 / 3)}


def test_zero_shot_needs_classes(make_mesh):
    bare = dataclasses.replace(squares(3), classes={})
    with pytest.raises(ValueError, match="squares has no labelled records"):
        zero_shot(colour_embedder(make_mesh(1)), bare, {})


def test_corrupt_records_are_left_out(make_mesh):
    found = zero_shot(colour_embedder(make_mesh(2)), squares(12, broken=True), {})
    assert found == {"en": 1.0, "zh": 1.0}


def test_undecodable_picture_is_marked_and_its_row_is_zero(make_mesh):
    records = [Record("good", np.full((14, 14), 9, np.uint8), ("x",)), Record("bad", b"no", ("x",))]
    rows, usable = colour_embedder(make_mesh(1)).images({}, records)
    np.testing.assert_array_equal(usable, [True, False])
    assert np.any(rows[0])
    assert not np.any(rows[1])


def test_rows_keep_their_order_over_batches_and_devices(make_mesh):
    pictures = [np.full((14, 14, 3), (i, 255 - i, 40), np.uint8) for i in range(0, 250, 7)]
    records = [Record(str(i), p, ("x",)) for i, p in enumerate(pictures)]
    rows, _ = colour_embedder(make_mesh(8), batch_size=16).images({}, records)
    expected = np.stack([p[0, 0] / np.linalg.norm(p[0, 0].astype(float)) for p in pictures])
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_retrieval_of_shared_captions_is_perfect(make_mesh):
    found = retrieval(colour_embedder(make_mesh(1)), squares(9), {})
    assert found["i2t_r1"] == found["t2i_r1"] == 1.0


def brute_recall(scores: np.ndarray, relevant: np.ndarray, k: int) -> float:
    hits = 0
    for row, right in zip(scores, relevant, strict=True):
        order = np.argsort(-row, kind="stable")
        hits += any(right[c] for c in order[:k])
    return hits / len(scores)


def test_recall_equals_sorting():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 30)).astype(np.float32)
    relevant = rng.random((40, 30)) < 0.1
    relevant[:, 0] = True
    found = recall(scores, relevant, "x")
    for k in (1, 5, 10):
        assert found[f"x_r{k}"] == pytest.approx(brute_recall(scores, relevant, k))


def test_ties_count_against_a_collapsed_model():
    scores, relevant = np.ones((4, 20), np.float32), np.eye(4, 20, dtype=bool)
    assert recall(scores, relevant, "x") == {"x_r1": 0.0, "x_r5": 0.0, "x_r10": 0.0}


def test_gallery_is_a_picture_and_draws_every_glyph(make_mesh):
    # A glyph that the font lacks is a warning, and warnings are errors here.
    picture = gallery(colour_embedder(make_mesh(1)), squares(5), FONT_PATH, 4, 2, {})["captions"]
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.std() > 0


def test_curves_skip_text_values_and_cut_off_lines(tmp_path: Path):
    lines = '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": "nan"}\n{"step": 3, "loss": 1.0}\n{"st'
    (tmp_path / "metrics.jsonl").write_text(lines)
    curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
