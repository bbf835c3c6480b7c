"""Acceptance figures on cases computed by hand."""

import numpy as np
import pytest

from mmtp.data.encoded import Encoded, Visual
from mmtp.data.packing import Collate
from mmtp.data.records import CATEGORIES
from mmtp.evals import acceptance
from mmtp.evals.acceptance import Steps
from mmtp.generate import Completion, make_request
from tests.mmtp.random_documents import make_layout, random_documents


def steps(accepted, drafted=3, category=0, distance=-1):
    accepted = np.asarray(accepted)
    return Steps(accepted, accepted, accepted, accepted)._replace(
        drafted=np.full_like(accepted, drafted),
        category=np.full_like(accepted, category),
        distance=np.full_like(accepted, distance),
    )


def test_length_is_one_and_the_mean_of_the_accepted():
    figures = acceptance.summarise(steps([0, 1, 3, 3]))
    assert figures["length"] == 1 + 7 / 4
    assert [figures[f"rate/{j}"] for j in (1, 2, 3)] == [3 / 4, 2 / 4, 2 / 4]
    assert [figures[f"conditional/{j}"] for j in (1, 2, 3)] == [3 / 4, 2 / 3, 1]
    assert acceptance.summarise(steps([])) == {}


def test_length_is_one_and_the_sum_of_products():
    rng = np.random.default_rng(0)
    matches = rng.random((400, 3)) < [0.85, 0.75, 0.65]
    valid, zeros = np.ones((400, 3), bool), np.zeros(400, int)
    found = acceptance.summarise(acceptance.teacher_forced(matches, valid, zeros, zeros))
    rates = [found[f"conditional/{j}"] for j in (1, 2, 3)]
    assert found["length"] == pytest.approx(1 + np.cumprod(rates).sum())
    assert found["length"] == pytest.approx(1 + np.cumprod(matches, axis=1).sum() / 400)
    assert found["length"] < 1 + sum(rates) - 0.2  # the sum of rates would be another number


def test_teacher_forcing_ends_where_heads_are_not_valid():
    matches = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    valid = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    found = acceptance.teacher_forced(matches, valid, np.arange(3), np.arange(3))
    assert found.drafted.tolist() == [2, 3]
    assert found.accepted.tolist() == [2, 1]
    assert found.category.tolist() == [0, 1]


def test_steps_of_completions_know_how_far_the_picture_is():
    visual = Visual(np.zeros((8, 4), np.uint8), (2, 4), 1)
    tokens = np.zeros(6, np.int32)  # text, two visual tokens, three of text
    shown = Encoded(tokens, np.zeros(6, bool), (visual,), 3, "a")
    plain = Encoded(tokens, np.zeros(6, bool), (), 1, "b")
    none = np.zeros(9)
    drafts = np.array([[1, 2, 2], [4, 2, 0]], np.int32)
    completion = Completion(none, none, none, none, none, drafts, none, "length")
    requests = [make_request(0, shown, 9), make_request(0, plain, 9)]
    found = acceptance.generated(requests, [completion] * 2)
    # The first draft is token 6 + 1 of the sequence, the last visual token is token 2.
    assert found.distance.tolist() == [5, 8, -1, -1]
    assert found.accepted.tolist() == [2, 0, 2, 0]
    assert found.category.tolist() == [3, 3, 1, 1]


def test_distances_in_a_row_of_documents_in_any_order():
    visual = np.array([[0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0]], bool)
    segments = np.array([[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0]])
    expected = np.array([[-1, 1, 1, 2, 3, 1, 2, -1, -1, 1, 2, -1]])
    order = np.random.default_rng(0).permutation(12)[None]
    for places in (np.arange(12)[None], order):
        laid_out = [np.take_along_axis(x, places, axis=1) for x in (visual, segments)]
        found = acceptance.distances(*laid_out, places)
        np.testing.assert_array_equal(found, np.take_along_axis(expected, places, axis=1))


def test_foreseen_steps_are_those_of_reading_the_documents_one_by_one():
    """Two heads over packed random documents, against loops over each document."""
    documents = random_documents(0, 16, longest=24)
    batch = Collate(make_layout(1, 2, rows=8, vision_rows=16))([{"document": d} for d in documents])
    rows = {n: x.reshape(-1, *x.shape[2:]) for n, x in batch["arrays"].items() if n != "image"}
    # Few tokens, so that heads are often right.
    predicted = np.random.default_rng(1).integers(0, 2, (rows["tokens"].shape[0], 3, 32))
    predicted = predicted[..., : rows["tokens"].shape[1]]
    found = acceptance.foreseen(predicted, rows)
    expected = []
    for row, segments in enumerate(rows["segments"]):
        for i in range(len(segments)):
            drafted = accepted = 0
            if not rows["weights"][row, 0, i]:  # the newest known token is not the model's own
                continue
            for k in (1, 2):
                target = i + k + 1
                if target >= len(segments) or segments[target] != segments[i] or not segments[i]:
                    break
                if not rows["weights"][row, k, i]:
                    break
                drafted += 1
                right = predicted[row, k, i] == predicted[row, 0, i + k]
                accepted += right and accepted == k - 1
            before = [j for j in range(i + 2) if j < len(segments) and segments[j] == segments[i]]
            seen = [j for j in before if rows["visual"][row, j]]
            distance = i + 2 - seen[-1] if seen else -1
            if drafted:
                expected.append((drafted, accepted, rows["category"][row, i], distance))
    assert len(expected) > 40
    assert [tuple(map(int, step)) for step in zip(*found, strict=True)] == expected


def test_groups_and_picture():
    parts = [steps([0, 2], category=3, distance=5), steps([3], category=5, distance=4000)]
    parts.append(steps([1, 1], category=0))
    both = Steps(*(np.concatenate(c) for c in zip(*parts, strict=True)))
    lengths = {n: s["length"] for n, s in acceptance.by_category(both).items()}
    assert lengths == {CATEGORIES[0]: 2, CATEGORIES[3]: 2, CATEGORIES[5]: 4}
    found = {n: s["length"] for n, s in acceptance.by_distance(both).items()}
    assert found == {"no picture": 2, "up to 8": 2, "over 512": 4}
    flat = acceptance.flat(both)
    assert flat["distance/over_512/length"] == 4
    assert flat["length"] == pytest.approx(1 + 7 / 5)
    found = acceptance.figures(both)
    assert found["picture"].dtype == np.uint8
    assert found["picture"].shape[1] > 1000
    assert found.keys() - {"picture"} == flat.keys()
    assert acceptance.figures(steps([])) == {}
