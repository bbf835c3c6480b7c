"""The suites' figures against scikit-learn and against counting."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, jaccard_score, top_k_accuracy_score

from cogvit_jax.evals.suite import metrics


@pytest.fixture(params=range(5))
def predictions(request):
    """(scores [n, c], labels [n], top [n, 5]); the last class never occurs."""
    rng = np.random.default_rng(request.param)
    num_classes = 7
    labels = rng.integers(0, num_classes - 1, 80)
    scores = rng.normal(size=(80, num_classes)) + np.eye(num_classes)[labels]
    return scores, labels, np.argsort(-scores, axis=-1)[:, :5]


# scikit-learn's, of a class that is never true.
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_accuracies_equal_scikit_learns(predictions):
    scores, labels, top = predictions
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=range(7))
        assert metrics.topk_accuracy(top, labels, k) == pytest.approx(expected)
    expected = balanced_accuracy_score(labels, top[:, 0])
    assert metrics.mean_per_class_recall(top, labels) == pytest.approx(expected)


def test_macro_f1_equals_scikit_learns_over_the_classes_that_occur(predictions):
    _, labels, top = predictions
    expected = f1_score(labels, top[:, 0], average="macro", labels=np.unique(labels))
    assert metrics.macro_f1(top, labels) == pytest.approx(expected)


def test_macro_f1_of_a_class_never_predicted_is_zero():
    top, labels = np.asarray([[0], [0], [0]]), np.asarray([0, 0, 1])
    assert metrics.macro_f1(top, labels) == pytest.approx((0.8 + 0) / 2)


def test_worst_group_equals_the_least_of_the_groups(predictions):
    _, labels, top = predictions
    groups = np.random.default_rng(9).choice([0, 2, 7], len(labels))  # numbers need not be dense
    for k in (1, 5):
        right = [label in row[:k] for label, row in zip(labels, top, strict=True)]
        expected = min(np.mean([r for r, g in zip(right, groups, strict=True) if g == group])
                       for group in (0, 2, 7))  # fmt: skip
        assert metrics.worst_group_accuracy(top, labels, groups, k) == pytest.approx(expected)


def test_a_group_of_one_picture_counts():
    top, labels = np.asarray([[0], [0], [1]]), np.asarray([0, 0, 0])
    assert metrics.worst_group_accuracy(top, labels, np.asarray([5, 5, 1]), 1) == 0


def brute_recall(scores: np.ndarray, matches: list[set[int]], k: int) -> float:
    """Share of the queries that have matches with one among the k best."""
    asked = [(row, own) for row, own in zip(scores, matches, strict=True) if own]
    return float(np.mean([bool(set(np.argsort(-row)[:k]) & own) for row, own in asked]))


@pytest.mark.parametrize("seed", range(4))
def test_retrieval_equals_sorting_for_many_to_many(seed):
    rng = np.random.default_rng(seed)
    images, texts = (rng.normal(size=(n, 6)).astype(np.float32) for n in (20, 33))
    owners = [tuple(rng.choice(20, rng.integers(0, 4), replace=False)) for _ in texts]
    owners = [tuple(int(i) for i in own) for own in owners]
    found = metrics.retrieval(images, texts, [str(i) for i in range(33)], owners)
    described = [{t for t, own in enumerate(owners) if i in own} for i in range(20)]
    for k in (1, 5, 10):
        t2i = brute_recall(texts @ images.T, [set(own) for own in owners], k)
        assert found[f"t2i_r{k}"] == pytest.approx(t2i)
        assert found[f"i2t_r{k}"] == pytest.approx(brute_recall(images @ texts.T, described, k))
    assert found["mean_recall_1"] == pytest.approx((found["t2i_r1"] + found["i2t_r1"]) / 2)
    mean = np.mean([found[f"t2i_r{k}"] for k in (1, 5, 10)])
    assert found["t2i_mean_recall"] == pytest.approx(mean)


def test_equal_captions_of_two_pictures_are_two_queries_and_no_error_for_the_pictures():
    images = np.eye(2, dtype=np.float32)
    texts = images[[0, 0]]  # both pictures have the caption that fits the first
    found = metrics.retrieval(images, texts, ["same", "same"], [(0,), (1,)])
    assert found["t2i_r1"] == 0.5
    assert found["i2t_r1"] == 1.0


def test_collapsed_embeddings_gain_nothing():
    same = np.ones((12, 3), np.float32)
    found = metrics.retrieval(same, same, [str(i) for i in range(12)], [(i,) for i in range(12)])
    assert set(found.values()) == {0.0}
    fits = np.asarray([True, True, False, False, False])
    assert metrics.jaccard(np.zeros(5), fits) == 0


@pytest.mark.parametrize("seed", range(6))
def test_jaccard_equals_scikit_learns_on_the_best_scores(seed):
    rng = np.random.default_rng(seed)
    scores, fits = rng.normal(size=10), rng.permutation(10) < 1 + seed
    chosen = np.isin(np.arange(10), np.argsort(scores)[-fits.sum() :])
    assert metrics.jaccard(scores, fits) == pytest.approx(jaccard_score(fits, chosen))
