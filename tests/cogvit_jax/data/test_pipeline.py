"""Training batches: a pure function of seed and number, whoever reads them, from wherever."""

import dataclasses
import logging

import jax
import numpy as np
import pytest

from cogvit_jax import sharding
from cogvit_jax.data import mixture
from cogvit_jax.data.examples import Examples, TooManyCorruptRecords
from cogvit_jax.data.layout import DataSettings, Layout
from cogvit_jax.data.pairs import Collate, PairExample, pair_id
from cogvit_jax.data.pipeline import pair_batches
from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.text import load_tokenizer
from cogvit_jax.settings import ConfigError

PATCH = 4
SETTINGS = DataSettings(
    train="embedded:digits/train@0.75,embedded:photos/train@0.25",
    global_batch=16,
    text_length=8,
    lengths=(4, 9),
    crop_scale=(0.5, 1.0),
)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """`count` small pictures; those of `broken` cannot be read, those of `mute` have no caption."""

    name: str
    count: int
    broken: frozenset[int] = frozenset()
    mute: frozenset[int] = frozenset()

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.broken:
            raise CorruptRecord(f"{self.name}/{index} is truncated")
        image = np.full((8, 12, 3), index % 256, np.uint8)
        captions = (" ", "") if index in self.mute else ("", f"picture {index}", f"图 {index}")
        return Record(f"{self.name}/{index}", image, captions)


@pytest.fixture
def sources(monkeypatch):
    """Puts own sources in the place of `open_source`'s: name -> records."""
    known = {}

    def open_source(spec):
        return Source(spec, known[spec])

    monkeypatch.setattr(mixture, "open_source", open_source)
    return known


@pytest.fixture
def batches(make_mesh):
    """Opens batches and closes them after the test."""
    opened = []

    def make(state=None, mesh=None, seed=1, positives="concept", microbatches=1, **fields):
        config = dataclasses.replace(SETTINGS, **fields)
        mesh = mesh or make_mesh(2)
        found = pair_batches(config, mesh, PATCH, seed, state, positives, microbatches)
        opened.append(found)
        return found

    yield make
    for one in opened:
        one.close()


def take(batches, count):
    """(arrays on the host, ids) of the next batches."""
    return [(jax.device_get(next(batches)), tuple(batches.ids)) for _ in range(count)]


def assert_same(found, expected):
    for (arrays, ids), (wanted, wanted_ids) in zip(found, expected, strict=True):
        assert ids == wanted_ids
        jax.tree.map(np.testing.assert_array_equal, arrays, wanted)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_a_saved_place_goes_on_as_if_never_left(batches, layout):
    straight = batches(layout=layout)
    first, state = take(straight, 3), straight.get_state()
    rest = take(straight, 3)
    assert_same(take(batches(state, layout=layout), 3), rest)
    assert_same(take(batches(layout=layout), 3), first)
    assert {ids for _, ids in first}.isdisjoint({ids for _, ids in rest})


def test_what_was_read_ahead_is_not_part_of_the_place(batches):
    eager = batches(prefetch=5)
    take(eager, 1)
    assert eager.get_state()["next_batch"] == 1
    assert_same(take(batches(eager.get_state(), prefetch=0), 2), take(batches(), 3)[1:])


def test_another_seed_gives_other_batches(batches):
    (a, _), (b, _) = take(batches(seed=1), 1)[0], take(batches(seed=2), 1)[0]
    assert not np.array_equal(a["text"]["tokens"], b["text"]["tokens"])


def test_crops_and_captions_are_drawn_anew_in_every_pass(batches, sources):
    sources["one"] = Pictures("one", 1)
    found = take(batches(train="one", global_batch=16), 1)[0][0]
    assert len(np.unique(found["text"]["tokens"], axis=0)) == 2  # both captions


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_order_does_not_depend_on_reader_threads(batches, layout):
    assert_same(
        take(batches(layout=layout, read_threads=4), 4),
        take(batches(layout=layout, read_threads=1), 4),
    )


def test_order_does_not_depend_on_worker_processes(batches):
    alone = batches()
    expected = take(alone, 6)
    assert_same(take(batches(num_workers=2, read_threads=2), 6), expected)
    resumed = batches({**alone.get_state(), "next_batch": 3}, num_workers=2)
    assert_same(take(resumed, 3), expected[3:])


def test_mixture_keeps_its_proportions(batches, sources):
    sources["a"], sources["b"] = Pictures("a", 1000), Pictures("b", 1000)
    found = take(batches(train="a@0.75,b@0.25", global_batch=40), 10)
    names = [i.split("/")[0] for _, ids in found for i in ids]
    assert len(names) == 400
    assert abs(names.count("a") - 300) <= 1
    # …not only in sum, but all along.
    assert all(8 <= names[i : i + 40].count("b") <= 12 for i in range(0, 400, 40))


def test_every_pass_shows_each_record_once_in_a_new_order(batches, sources):
    sources["a"] = Pictures("a", 32)
    found = [i for _, ids in take(batches(train="a"), 4) for i in ids]
    assert len(set(found[:32])) == len(set(found[32:])) == 32
    assert found[:32] != found[32:]


def make_examples(layout, host, hosts=2, groups=8):
    """One host's view of a mesh of `groups` batch shards."""
    fields = {"text_layout": layout, "text_budget": 4.0, "text_row_length": 8}
    config = dataclasses.replace(SETTINGS, layout=layout, global_batch=32, **fields)
    place = Layout.make(config, groups, 1, 1, hosts, host)
    opened, weights = mixture.open_mixture(config.train, "config.data.train")
    records = mixture.shuffled_mixture(opened, weights, 1)
    tokenizer = load_tokenizer("")
    make = PairExample(tokenizer, place, config, PATCH)
    share = (config.global_batch, place.host_batch, place.host_offset)
    examples = Examples(records, opened, make, *share, seed=1, first=0)
    return examples, Collate(place, tokenizer.pad_id)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_hosts_share_the_batch_of_a_single_one(layout):
    def batch(examples, number):
        size = examples.host_batch
        return [examples[number * size + i] for i in range(size)]

    whole, collate_whole = make_examples(layout, 0, hosts=1)
    parts = [make_examples(layout, host) for host in (0, 1)]
    assert [p.host_batch for p, _ in parts] == [16, 16]
    for number in (0, 1, 5):
        expected = batch(whole, number)
        found = [batch(examples, number) for examples, _ in parts]
        assert [e["id"] for host in found for e in host] == [e["id"] for e in expected]
        together = collate_whole(expected)["arrays"]
        shares = [collate(host)["arrays"] for (_, collate), host in zip(parts, found, strict=True)]
        joined = jax.tree.map(lambda *x: np.concatenate(x), *shares)
        jax.tree.map(np.testing.assert_array_equal, joined, together)


def test_corrupt_records_are_replaced_counted_and_named(batches, sources, caplog):
    broken = frozenset(range(0, 64, 8))
    sources["a"] = Pictures("a", 64, broken)
    found = batches(train="a")
    with caplog.at_level(logging.WARNING, "absl"):
        ids = [i for _, names in take(found, 8) for i in names]
    assert len(ids) == 128
    assert not {f"a/{i}" for i in broken} & set(ids)
    # Met several times over, but counted and logged once each.
    assert found.stats()["data/corrupt_records"] == 8
    assert len(found.get_state()["corrupt"]) == 8
    assert caplog.text.count("record skipped") == 8
    for i in broken:
        assert f"a [{i}]: a/{i} is truncated" in caplog.text


def test_corrupt_records_are_the_same_after_a_resume(batches, sources):
    sources["a"] = Pictures("a", 64, frozenset(range(0, 64, 3)))
    straight = batches(train="a")
    take(straight, 2)
    resumed = batches(straight.get_state(), train="a")
    assert_same(take(resumed, 3), take(straight, 3))
    assert resumed.stats() == straight.stats()


def test_too_many_corrupt_records_name_the_field_and_the_last(batches, sources):
    sources["a"] = Pictures("a", 64, frozenset(range(0, 64, 8)))
    found = batches(train="a", max_corrupt=5)
    with pytest.raises(TooManyCorruptRecords, match=r"config\.data\.max_corrupt = 5.*truncated"):
        take(found, 4)


def test_a_lowered_limit_stops_a_resumed_run_clearly(batches, sources):
    sources["a"] = Pictures("a", 640, frozenset(range(16)))
    first = batches(train="a", max_corrupt=100)
    state = {**first.get_state(), "corrupt": {f"a [{i}]": "is truncated" for i in range(50)}}
    with pytest.raises(TooManyCorruptRecords, match=r"config\.data\.max_corrupt = 5"):
        take(batches(state, train="a", max_corrupt=5), 1)


def test_a_source_without_one_good_record_says_so(batches, sources):
    sources["a"] = Pictures("a", 8, frozenset(range(8)))
    with pytest.raises(
        TooManyCorruptRecords, match=r"in a row cannot be used; .*: a \[\d\]: a/\d is"
    ):
        take(batches(train="a"), 1)


def test_records_without_a_caption_are_passed_over(batches, sources):
    sources["a"] = Pictures("a", 32, mute=frozenset((3, 4)))
    found = batches(train="a")
    (arrays, ids), (more, more_ids) = take(found, 2)
    assert not {"a/3", "a/4"} & {*ids, *more_ids}
    assert found.stats()["data/corrupt_records"] >= 2
    # An empty caption beside a good one is never drawn: every row has a word before eos.
    eos = load_tokenizer("").eos_id
    assert (np.concatenate([arrays["text"]["tokens"], more["text"]["tokens"]])[:, 0] != eos).all()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"train": "embedded:digits/train"}, "train"),
        ({"global_batch": 32}, "global_batch"),
        ({"seed": 2}, "seed"),
    ],
)
def test_resuming_on_other_data_is_refused(batches, change, name):
    state = batches().get_state()
    with pytest.raises(ConfigError, match=rf"trained on other data: {name} was .*, is .*--workdir"):
        batches(state, **change)


def test_a_source_that_grew_is_refused(batches, sources):
    sources["a"] = Pictures("a", 32)
    state = batches(train="a").get_state()
    sources["a"] = Pictures("a", 33)
    with pytest.raises(ConfigError, match=r"sizes was \[32\], is \[33\]"):
        batches(state, train="a")


def test_padded_length_varies_over_batches_at_constant_batch_size(batches):
    found = [arrays for arrays, _ in take(batches(), 12)]
    lengths = [a["image"]["segments"].shape[1] for a in found]
    assert set(lengths) == {4, 9}
    assert (
        {len(a["text"]["tokens"]) for a in found}
        == {len(a["image"]["segments"]) for a in found}
        == {16}
    )
    for arrays, length in zip(found, lengths, strict=True):
        assert (arrays["image"]["segments"].sum(1) <= length).all()
        assert (arrays["image"]["segments"][:, 0] == 1).all()


def test_packed_shapes_are_constant_and_hold_every_image(batches):
    found = [arrays for arrays, _ in take(batches(layout="packed", row_length=13), 6)]
    assert len({str(jax.tree.map(np.shape, arrays)) for arrays in found}) == 1
    for arrays in found:
        image = arrays["image"]
        groups, _, length = image["segments"].shape
        assert length == 13
        assert groups == 2  # one for each of the two devices
        assert image["slots"].shape == arrays["image_ids"].shape == (2, 8)
        assert image["slot_mask"].sum() == 16
        # Each image's place holds tokens, at most its budget's.
        slots = image["slot_mask"].shape[-1]
        for group, places in zip(image["segments"], image["slots"], strict=True):
            assert len(set(places.tolist())) == 8
            sizes = [(group[p // slots] == p % slots + 1).sum() for p in places]
            assert all(1 <= n <= b for n, b in zip(sizes, (4, 9) * 4, strict=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"global_batch": 15},
            r"config\.data\.global_batch = 15 is not divisible.* 2 batch shards",
        ),
        ({"layout": "paked"}, r"config\.data\.layout = 'paked'.*Did you mean 'packed'"),
        ({"layout": "packed", "row_length": 5}, r"config\.data\.row_length = 5 is less.* 9 "),
        ({"layout": "packed", "stretch": -0.1}, r"config\.data\.stretch = -0\.1 must be 0 or more"),
        ({"microbatches": 3}, r"2 batch shards times config\.train\.microbatches = 3"),
        ({"positives": "pairs"}, r"config\.loss\.positives = 'pairs'.*Did you mean 'pair'"),
        ({"text_layout": "pad"}, r"config\.data\.text_layout = 'pad'.*Did you mean 'padded'"),
        ({"text_length": 0}, r"config\.data\.text_length = 0 has no room for eos"),
        (
            {"text_layout": "packed", "text_row_length": 7},
            r"config\.data\.text_row_length = 7 is less.*text_length = 8",
        ),
        (
            {"text_layout": "packed", "text_budget": 9.0},
            r"config\.data\.text_budget = 9\.0 must lie between 1 and .*text_length = 8",
        ),
    ],
)
def test_bad_layouts_name_the_field(batches, fields, message):
    with pytest.raises(ConfigError, match=message):
        batches(**fields)


def reference_embeddings(batch, values):
    """By image and by caption: `values` of the tokens' owners, found through slots alone."""
    return values[batch["image_ids"].reshape(-1)], values[batch["text_ids"]]


@pytest.mark.parametrize("text_layout", ["padded", "packed"])
@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_ids_stay_with_their_images_and_captions(batches, sources, layout, text_layout):
    """Pictures of one colour and captions of one number each tell their own record."""
    sources["a"] = Pictures("a", 32)
    fields = {"layout": layout, "text_layout": text_layout, "text_row_length": 20}
    found = batches(train="a", microbatches=4, positives="pair", **fields)
    tokenizer = load_tokenizer("")
    arrays, ids = take(found, 1)[0]
    records = [int(i.split("/")[1]) for i in ids]
    assert sorted(arrays["image_ids"].reshape(-1).tolist()) == list(range(16))
    parts = jax.device_get(sharding.split_microbatches((arrays["image"], arrays["image_ids"]), 4))
    seen = []
    for number in range(4):
        image, image_ids = jax.tree.map(lambda x, n=number: x[n], parts)
        for owner, patch in zip(image_ids.reshape(-1), first_patches(image), strict=True):
            assert patch == records[owner]
            seen.append(owner)
    assert sorted(seen) == list(range(16))
    for owner, tokens in zip(arrays["text_ids"], captions(arrays["text"]), strict=True):
        assert str(records[owner]) in tokenizer.decode(tokens).replace(" ", "")


def first_patches(image):
    """The first pixel of each image, in order of the ids."""
    if "slots" not in image:
        return image["patches"][:, 0, 0]
    slots = image["slot_mask"].shape[-1]
    found = []
    for group, places in enumerate(image["slots"]):
        for row, segment in (divmod(p, slots) for p in places.tolist()):
            mine = image["segments"][group, row] == segment + 1
            found.append(image["patches"][group, row][mine][0, 0])
    return found


def captions(text):
    """Token ids of each caption, in order of the ids."""
    if "slots" not in text:
        return [t[s > 0] for t, s in zip(text["tokens"], text["segments"], strict=True)]
    found = []
    for group, places in enumerate(text["slots"]):
        for row, column in (divmod(p, text["tokens"].shape[-1]) for p in places.tolist()):
            segments = text["segments"][group, row]
            found.append(text["tokens"][group, row][segments == segments[column]])
    return found


def test_packed_captions_are_the_padded_ones_where_nothing_is_cut(batches):
    padded, packed = (
        take(batches(positives="pair", text_layout=layout), 1)[0][0]
        for layout in ("padded", "packed")
    )
    assert packed["text"]["tokens"].shape == (2, 2, 32)
    found = dict(zip(packed["text_ids"].tolist(), captions(packed["text"]), strict=True))
    for number, tokens in enumerate(captions(padded["text"])):
        np.testing.assert_array_equal(found[number], tokens)
    jax.tree.map(np.testing.assert_array_equal, packed["image"], padded["image"])


def test_what_is_cut_and_wasted_is_told(batches):
    told = {}
    for budget in (8.0, 3.0):
        found = batches(text_layout="packed", text_row_length=24, text_budget=budget)
        arrays, _ = take(found, 1)[0]
        told[budget] = found.stats()
        kept = np.mean(arrays["text"]["segments"] > 0)
        assert found.stats()["data/text_waste"] == pytest.approx(1 - kept)
    assert told[3.0]["data/text_cut"] > told[8.0]["data/text_cut"] > 0  # text_length = 8 cuts too
    assert told[3.0]["data/text_waste"] < 0.1


def test_pairs_share_ids_by_concept_or_by_place(batches):
    by_concept, _ = take(batches(train="embedded:digits/train"), 1)[0]
    by_place, _ = take(batches(train="embedded:digits/train", positives="pair"), 1)[0]
    assert set(by_concept["image_ids"].tolist()) <= {pair_id(f"digit {i}") for i in range(10)}
    np.testing.assert_array_equal(by_concept["image_ids"], by_concept["text_ids"])
    np.testing.assert_array_equal(by_place["image_ids"], np.arange(16))


@pytest.mark.parametrize("stretch", [0.0, 0.25])
def test_mixed_budgets_waste_little(batches, stretch):
    found = batches(
        train="embedded:photos/train",
        layout="packed",
        global_batch=24,
        lengths=(784, 128) if stretch else (576, 192, 256),
        row_length=1024,
        stretch=stretch,
    )
    take(found, 1)
    assert found.stats()["data/image_waste"] < 0.06
