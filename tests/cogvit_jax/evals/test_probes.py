"""kNN against brute force; probes on features whose classes are known; what is left out."""

import dataclasses
import re

import numpy as np
import pytest

from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.evals import probes
from cogvit_jax.evals.logistic import fit_logistic, sweep_strength, validation_split
from cogvit_jax.evals.probes import (
    Labelled,
    knn,
    knn_accuracy,
    knn_probe,
    labelled,
    linear_accuracy,
    linear_probe,
    pixel_features,
    with_baselines,
)
from cogvit_jax.plots import PANELS

COLOURS = ((250, 20, 20), (20, 250, 20), (20, 20, 250))
COLOUR_ONLY = np.asarray([1, 1, 1, 0, 0], np.float32)


@dataclasses.dataclass(frozen=True)
class Squares:
    """Noisy squares in three colours, one per class; the rest of `broken` cannot be used."""

    count: int
    seed: int = 0
    broken: bool = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Record:
        rng = np.random.default_rng([self.seed, index])
        label = index % 3
        pixels = np.clip(COLOURS[label] + rng.normal(0, 20, (8, 8, 3)), 0, 255).astype(np.uint8)
        if self.broken and index % 7 == 5:
            raise CorruptRecord(f"square {index}")
        if self.broken and index % 7 == 6:
            return Record(f"sq/{index}", b"not a picture", ("x",), label=label)
        if self.broken and index % 7 == 4:  # would be counted as wrong, whatever is predicted
            return Record(f"sq/{index}", pixels, ("x",), label=-1)
        return Record(f"sq/{index}", pixels, ("x",), label=label)


def squares(count: int, seed: int = 0, broken: bool = False) -> Source:
    return Source("squares", Squares(count, seed, broken))


def brute_knn(train, labels, test, k, temperature):
    """One feature at a time, in float64."""
    found = []
    for x in test.astype(np.float64):
        norms = np.linalg.norm(train, axis=1) * np.linalg.norm(x)
        cosines = train.astype(np.float64) @ x / norms
        votes = np.zeros(labels.max() + 1)
        for i in sorted(range(len(train)), key=lambda i: (-cosines[i], i))[:k]:
            votes[labels[i]] += np.exp(cosines[i] / temperature)
        found.append(votes.argmax())
    return np.asarray(found)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.07), (20, 10.0)])
def test_knn_equals_brute_force(k, temperature):
    rng = np.random.default_rng(k)
    train = rng.normal(size=(60, 4)).astype(np.float32)
    test = rng.normal(size=(37, 4)).astype(np.float32)
    labels = rng.integers(0, 5, 60)
    expected = brute_knn(train, labels, test, k, temperature)
    np.testing.assert_array_equal(knn(train, labels, test, k, temperature), expected)


def test_neighbours_are_weighted_by_their_cosine():
    train = np.asarray([[1, 0], [0.6, 0.8], [0.6, 0.8]], np.float32)
    labels, test = np.asarray([0, 1, 1]), np.asarray([[1, 0]], np.float32)
    # One at cosine 1 against two at 0.6: exp(0.4 / T) > 2 exactly when T < 0.577.
    assert knn(train, labels, test, 3, 0.07) == [0]
    assert knn(train, labels, test, 3, 10.0) == [1]


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    train, test = (rng.normal(size=(n, 6)).astype(np.float32) for n in (50, 41))
    labels = rng.integers(0, 4, 50)
    whole = knn(train, labels, test)
    monkeypatch.setattr(probes, "SIMILARITIES", 350)  # seven rows at a time; one is left over
    np.testing.assert_array_equal(knn(train, labels, test), whole)


def test_ties_take_the_first_neighbours_and_the_lowest_class():
    same = np.ones((6, 3), np.float32)
    assert knn(same, np.asarray([4, 4, 1, 1, 0, 0]), same[:1], k=3) == [4]
    assert knn(same, np.asarray([4, 4, 1, 1, 0, 0]), same[:1], k=4) == [1]


def test_k_above_n_means_all():
    rng = np.random.default_rng(1)
    train, labels = rng.normal(size=(7, 3)).astype(np.float32), np.arange(7) % 2
    test = rng.normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_array_equal(knn(train, labels, test, k=500), knn(train, labels, test, k=7))


def test_lengths_of_features_do_not_matter_and_zero_features_are_no_nan():
    rng = np.random.default_rng(2)
    train, labels = rng.normal(size=(30, 3)).astype(np.float32), np.arange(30) % 3
    test = rng.normal(size=(8, 3)).astype(np.float32)
    scaled = train * rng.uniform(0.01, 100, (30, 1)).astype(np.float32)
    np.testing.assert_array_equal(knn(scaled, labels, 1e3 * test), knn(train, labels, test))
    assert knn(train, labels, np.zeros((1, 3), np.float32))[0] in (0, 1, 2)


def test_knn_says_what_it_was_given():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="got k=0"):
        knn(x, np.asarray([0, 1]), x, k=0)
    with pytest.raises(ValueError, match="lowest label -1"):
        knn(x, np.asarray([0, -1]), x)
    with pytest.raises(ValueError, match="0 features"):
        knn(x[:0], np.zeros(0, int), x)


@pytest.mark.parametrize("probe", [knn_probe, linear_probe])
def test_probes_are_right_on_colours_and_leave_out_what_cannot_be_used(known_encoder, probe):
    train, heldout = squares(42, broken=True), squares(21, seed=1, broken=True)
    found = probe(known_encoder(2), train, heldout, COLOUR_ONLY)
    assert list(found.values()) == [1.0]


def test_probes_count_mistakes():
    x = np.eye(3, dtype=np.float32)[[0, 1, 2] * 5]
    train = Labelled(x, np.asarray([0, 1, 2] * 5))
    wrong = Labelled(x[:6], np.asarray([0, 1, 2, 0, 2, 1]))
    assert knn_accuracy(train, wrong, k=3) == pytest.approx(4 / 6)
    assert linear_accuracy(train, wrong) == pytest.approx(4 / 6)


def test_probe_of_unlabelled_or_unreadable_sets_is_an_error_that_names_them(known_encoder):
    embed = lambda records: known_encoder().images(COLOUR_ONLY, records)  # noqa: E731
    pixels = np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match="plain has no labelled records"):
        labelled(Source("plain", (Record("a", pixels, ("x",)),)), embed)
    with pytest.raises(ValueError, match="spoilt: none of 1 labelled pictures"):
        labelled(Source("spoilt", (Record("a", b"no", ("x",), label=0),)), embed)


def test_pixel_features_are_the_pixels():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    records = [Record("a", images[0], ()), Record("b", b"no", ()), Record("c", images[1], ())]
    rows, usable = pixel_features(records, 4)
    np.testing.assert_array_equal(usable, [True, False, True])
    np.testing.assert_allclose(rows[[0, 2]], images.reshape(2, -1) / 255, rtol=1e-6)
    assert pixel_features(records, 2)[0].shape == (3, 12)


def test_baselines_are_computed_once_and_named(known_encoder):
    made = []

    def random_params() -> np.ndarray:
        made.append(1)
        return np.asarray([0, 0, 0, 1, 1], np.float32)  # sees no colour: the same for all squares

    sets = {"squares": (squares(30), squares(12, seed=1))}
    run = with_baselines(knn_accuracy, known_encoder(), sets, random_params, pixel_sides=(8,))
    for _ in range(2):
        found = run(COLOUR_ONLY)
        assert list(found) == ["squares", "squares_pixels_8", "squares_random_encoder"]
        assert found["squares"] == found["squares_pixels_8"] == 1.0
        assert found["squares_random_encoder"] == pytest.approx(1 / 3)
    assert len(made) == 1
    assert with_baselines(knn_accuracy, known_encoder(), sets)(COLOUR_ONLY) == {"squares": 1.0}


def test_linear_probe_sees_what_is_small_beside_other_dims():
    """Standardised: the class is in a dim a millionth of the others' size."""
    rng = np.random.default_rng(4)
    labels = np.arange(200) % 2
    x = rng.normal(size=(200, 5)).astype(np.float32)
    x[:, 2] = 1e-6 * (labels * 4 - 2 + rng.normal(size=200))
    sets = Labelled(x[:150], labels[:150]), Labelled(x[150:], labels[150:])
    assert linear_accuracy(*sets) > 0.9


def test_sweep_regularises_noise_and_spends_nothing_where_it_cannot_choose():
    rng = np.random.default_rng(5)
    labels = np.arange(60) % 2
    noise = rng.normal(size=(60, 200)).astype(np.float32)
    noise[:, 0] += 0.5 * labels
    clean = np.stack([labels * 2.0 - 1, rng.normal(size=60)], axis=1).astype(np.float32)
    assert 1e-6 <= sweep_strength(noise, labels) <= 1e6
    assert sweep_strength(clean, labels) <= 1e-2  # every strength is right: the smallest wins
    assert sweep_strength(noise[:6], np.asarray([0, 0, 0, 1, 1, 1])) == 1.0


def test_validation_is_a_fifth_of_each_class():
    labels = np.repeat([0, 3, 7], [50, 10, 4])
    chosen = validation_split(labels, seed=0)
    assert [int(chosen[labels == c].sum()) for c in (0, 3, 7)] == [10, 2, 0]
    assert np.any(chosen != validation_split(labels, seed=1))


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="two classes or more; 3 labels hold"):
        fit_logistic(np.ones((3, 2), np.float32), np.asarray([5, 5, 5]))


def test_curves_have_panels_for_the_new_metrics():
    names = {
        "loss": "loss",
        "loss/semantic": "loss per teacher",
        "loss/source/digits": "loss per source",
        "knn/digits_pixels_8": "kNN accuracy",
        "linear_probe/digits": "linear probe accuracy",
        "dense/scenes/miou": "segmentation of patches",
        "dense/photos/pck_chance": "correspondence within a patch",
        "dense/photos/error": "correspondence error, patches",
    }
    for name, title in names.items():
        assert [t for t, pattern in PANELS.items() if re.search(pattern, name)] == [title]
