"""Batches of judged samples: every number is where its token is predicted, and nothing is lost."""

import dataclasses

import jax
import numpy as np
import pytest

from cogvit_jax import sharding
from cogvit_jax.settings import ConfigError
from mmtp.data.encoded import MERGE
from mmtp.data.layout import flatten
from mmtp.data.planner import Size
from mmtp.data.reorder import zigzag
from rl import batch_arrays, batch_figures
from rl.balance import Cost
from rl.batch_arrays import PackingSettings, make_layout
from rl.batching import collate, plan_rows, write
from tests.rl.packed_samples import SETTINGS, random_samples, small_layout

COST = Cost(token=1.0, pair=0.05, patch=1.0, patch_pair=0.01)
VALUES = {"rollout_logprobs": "logprobs", "advantages": "advantages", "versions": "versions"}


def stretches(batch, index):
    """(group, row, places) of a sample's tokens in a batch that is not laid out for context."""
    groups, rows, places = np.nonzero(batch["sample"] == index + 1)
    assert len(set(groups.tolist())) == len(set(rows.tolist())) == 1
    assert (np.diff(places) == 1).all()
    return groups[0], rows[0], places


def unlaid(batch, context):
    order = np.argsort(zigzag(batch["tokens"].shape[-1], context))
    return {
        k: np.take(v, order, axis=2) for k, v in batch.items() if k in ("tokens", "sample", "mask")
    }


@pytest.mark.parametrize("rows", [1, 2])
def test_every_value_stands_where_its_token_is_predicted(rows):
    samples = random_samples(rows, 30, extra=("teacher",))
    settings = dataclasses.replace(SETTINGS, rows=rows, vision_rows=2, vision_row_length=32)
    batch = collate(samples, small_layout(2, settings=settings), cost=COST)["arrays"]
    assert np.unique(batch["sample"]).tolist() == list(range(31))  # all are there
    total = 0
    for index, sample in enumerate(samples):
        group, row, places = stretches(batch, index)
        np.testing.assert_array_equal(batch["tokens"][group, row, places], sample.document.tokens)
        assert (np.diff(batch["segments"][group, row, places]) == 0).all()
        for j in range(1, len(places)):
            here = group, row, places[j - 1]
            assert batch["mask"][here] == sample.trained[j]
            if sample.trained[j]:
                assert batch["labels"][group, row, 0, places[j - 1]] == sample.document.tokens[j]
                for name, field in VALUES.items():
                    assert batch[name][here] == getattr(sample, field)[j]
                assert batch["teacher"][here] == sample.extra["teacher"][j]
            else:
                assert all(batch[name][here] == 0 for name in (*VALUES, "teacher"))
        assert batch["mask"][group, row, places[-1]] == 0
        total += sample.trained.sum()
    assert batch["mask"].sum() == total
    np.testing.assert_array_equal(batch["mask"], batch["weights"][:, :, 0])


def test_pictures_are_in_the_group_of_their_sample():
    samples = random_samples(3, 30)
    batch = collate(samples, small_layout(2))["arrays"]
    patches, seen = batch["image"]["patches"], 0
    for index, sample in enumerate(samples):
        group, row, places = stretches(batch, index)
        visual = batch["visual"][group, row, places]
        blocks = patches[group].reshape(-1, MERGE**2, patches.shape[-1])
        for picture in sample.document.visuals:
            at = visual[picture.start : picture.start + picture.num_tokens] - 1
            found = blocks[at].reshape(picture.patches.shape)
            np.testing.assert_array_equal(found, picture.patches)
            seen += 1
    assert seen > 10


def test_groups_follow_the_ladder_and_empty_ones_are_masked():
    samples = random_samples(0, 40)
    made = collate(samples, small_layout(2), ladder=(1, 16))
    assert made["num_microbatches"] == 16
    arrays = made["arrays"]
    assert arrays["tokens"].shape[0] == 32
    used = arrays["sample"].any(axis=(1, 2))
    assert not arrays["mask"][~used].any()
    assert made["figures"]["packing/groups"] == 32
    assert batch_arrays.step_up(33, (1, 16)) == 48
    assert [batch_arrays.step_up(n, batch_arrays.LADDER) for n in (1, 5, 9)] == [1, 6, 12]


def test_too_many_samples_for_the_microbatches_are_an_error():
    samples = random_samples(0, 40)
    needed = collate(samples, small_layout(2), ladder=(1, 100))["figures"]["packing/bins"]
    least = -(-int(needed) // 2)
    assert collate(samples, small_layout(2), least)["num_microbatches"] == least
    with pytest.raises(ConfigError, match=rf"microbatches = {least - 1} .* need {needed:.0f}"):
        collate(samples, small_layout(2), least - 1)


def test_a_shards_microbatches_are_taken_apart_as_the_step_does():
    """In each turn all shards have about equal cost, and in all of them too."""
    samples = random_samples(1, 60)
    sizes = [s.size for s in samples]
    plan = plan_rows(sizes, small_layout(4), cost=COST)
    costs = np.zeros(plan.layout.global_groups)
    for size, place in zip(sizes, plan.places, strict=True):
        costs[place.group] += COST.of(size)
    # [turns, shards], as `sharding.split_microbatches` has them on the devices.
    turns = np.asarray(sharding.split_microbatches(costs, plan.num_microbatches))
    assert turns.shape == (plan.num_microbatches, 4)
    excess = turns.max(axis=1).sum() / turns.mean(axis=1).sum() - 1
    assert plan.figures["packing/imbalance_turns"] == pytest.approx(excess)
    assert excess < 0.1
    ranks = turns.sum(axis=0)
    assert plan.figures["packing/imbalance_ranks"] == pytest.approx(ranks.max() / ranks.mean() - 1)


def test_rows_are_laid_out_for_context():
    samples = random_samples(2, 12)
    plain = collate(samples, small_layout())["arrays"]
    laid = collate(samples, small_layout(context=2))["arrays"]
    assert (laid["sample"] != plain["sample"]).any()
    for name, value in unlaid(laid, 2).items():
        np.testing.assert_array_equal(value, plain[name])


def test_hosts_write_their_own_groups():
    samples = random_samples(5, 24)
    plan = plan_rows([s.size for s in samples], small_layout(2))
    whole = flatten(write(samples, plan))
    half = plan.layout.global_groups // 2
    for first in (0, half):
        part = flatten(write(samples, plan, range(first, first + half)))
        assert part.keys() == whole.keys()
        for name, value in part.items():
            np.testing.assert_array_equal(value, whole[name][first : first + half], err_msg=name)


def test_arrays_have_the_declared_shapes_and_go_onto_a_mesh():
    mesh = sharding.make_mesh(sharding.MeshSettings(data=4, context=2))
    layout = small_layout(4, context=2)
    made = collate(random_samples(0, 20, extra=("teacher",)), layout)
    turns = made["num_microbatches"]
    declared = batch_arrays.batch_shapes(layout, turns, mesh, ("teacher",))
    placed = batch_arrays.put_batch(mesh, made["arrays"])
    assert jax.tree.structure(placed) == jax.tree.structure(declared)
    for found, wanted in zip(jax.tree.leaves(placed), jax.tree.leaves(declared), strict=True):
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        assert found.sharding == wanted.sharding


def test_bytes_are_counted():
    samples = random_samples(0, 20)
    layout = small_layout(2)
    figures = collate(samples, layout)["figures"]
    text, patch = batch_figures.unit_bytes(layout)
    assert figures["packing/bytes"] == figures["packing/groups"] * 64 * (text + patch)
    longest = max(len(s.document.tokens) for s in samples)
    patches = sum(s.size.patches for s in samples)
    assert figures["packing/naive_bytes"] == text * 20 * longest + patch * patches * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trained": np.ones(3, bool)}, "trained has shape"),
        ({"extra": {"teacher": np.zeros(2)}}, "teacher has shape"),
        ({"trained": None}, "its first token is trained"),
        ({"advantages": np.nan}, "advantages is not finite"),
    ],
)
def test_arrays_that_do_not_match_the_tokens_are_errors(changes, message):
    sample = random_samples(0, 1)[0]
    n = len(sample.document.tokens)
    if changes.get("trained", 0) is None:
        changes = {"trained": np.ones(n, bool)}
    if "advantages" in changes:
        changes = {"advantages": np.full(n, np.nan, np.float32)}
    with pytest.raises(ValueError, match=rf"sample 0 \(document 0\): {message}"):
        collate([dataclasses.replace(sample, **changes)], small_layout())


def test_a_trained_placeholder_and_different_extras_are_errors():
    samples = random_samples(3, 10)
    sample = next(s for s in samples if s.document.visuals and s.document.visuals[0].start)
    trained = sample.trained.copy()
    trained[sample.document.visuals[0].start] = True
    with pytest.raises(ValueError, match="placeholder of a picture is trained"):
        collate([dataclasses.replace(sample, trained=trained)], small_layout())
    odd = dataclasses.replace(sample, extra={"teacher": sample.logprobs})
    with pytest.raises(ValueError, match="different further arrays"):
        collate([sample, odd], small_layout())


def test_equal_sizes_give_equal_plans():
    sizes = [Size(int(n), (4,) * int(n % 3)) for n in np.random.default_rng(0).integers(1, 40, 30)]
    first, second = (plan_rows(sizes, small_layout(2), cost=COST) for _ in range(2))
    assert first.places == second.places


@pytest.mark.parametrize(
    ("field", "value"),
    [("seq_len", 0), ("vision_rows", 0), ("microbatches", -1), ("ladder", (2, 1)), ("ladder", ())],
)
def test_settings_out_of_range_are_named(field, value):
    settings = PackingSettings(**({"seq_len": 8} | {field: value}))
    with pytest.raises(ConfigError, match=f"config.packing.{field} = "):
        make_layout(settings, num_shards=1, patch_dim=3, image_token=7)
