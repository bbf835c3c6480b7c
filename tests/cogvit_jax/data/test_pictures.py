"""Stage 1's pictures: a pure function of seed and number; views of one crop; faults counted."""

import dataclasses

import jax
import numpy as np
import pytest

from cogvit_jax.data import mixture
from cogvit_jax.data.examples import TooManyCorruptRecords
from cogvit_jax.data.feature_cache import FeatureCache, finish, open_cache, write_source
from cogvit_jax.data.masking import MaskSettings
from cogvit_jax.data.pictures import PictureExample, PictureSettings, View
from cogvit_jax.data.pipeline import picture_batches
from cogvit_jax.data.quality import QualitySettings
from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.data.shapes import picture_shapes
from cogvit_jax.settings import ConfigError

CONFIG = PictureSettings(
    train="embedded:digits/train@0.75,embedded:photos/train@0.25",
    global_batch=16,
    image_size=24,
    crop_scale=(0.5, 1.0),
    flip=True,
)
EXAMPLE = PictureExample(
    CONFIG, MaskSettings(), QualitySettings(), View(24, 4), (View(32, 4), View(24, 8))
)


@pytest.fixture
def open_batches(make_mesh):
    opened = []

    def make(example=EXAMPLE, state=None, num_devices=2, seed=3, **fields):
        example = dataclasses.replace(example, config=dataclasses.replace(example.config, **fields))
        opened.append(picture_batches(example, make_mesh(num_devices), seed, state))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def take(batches, num):
    return [jax.tree.map(np.asarray, next(batches)) for _ in range(num)]


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_batches_are_a_function_of_seed_and_number(open_batches):
    straight = take(open_batches(), 4)
    assert_equal(straight, take(open_batches(num_devices=8), 4))
    first = open_batches()
    assert_equal(straight[:2], take(first, 2))
    assert_equal(straight[2:], take(open_batches(state=first.get_state()), 2))
    assert not np.array_equal(straight[0]["patches"], straight[1]["patches"])
    other = take(open_batches(seed=4), 1)[0]
    assert not np.array_equal(other["masked"], straight[0]["masked"])


def test_worker_processes_change_nothing(open_batches):
    assert_equal(take(open_batches(), 3), take(open_batches(num_workers=2), 3))


def test_every_picture_hides_the_same_number_of_patches(open_batches):
    for batch in take(open_batches(), 3):
        assert batch["masked"].shape == (16, 36)
        assert set(batch["masked"].sum(1)) == {13}  # 0.35 of 36


def test_teachers_see_the_same_crop(open_batches):
    batch = take(open_batches(), 1)[0]
    assert set(batch["teachers"]) == {"32x4", "24x8"}
    own = batch["patches"].reshape(16, 6, 6, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    coarse = batch["teachers"]["24x8"].reshape(16, 3, 3, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5)
    assert_equal(own.reshape(16, 24, 24, 3), coarse.reshape(16, 24, 24, 3))
    large = batch["teachers"]["32x4"].reshape(16, -1, 3).mean(1)
    # Resizing keeps the mean colour, but for rounding and the borders.
    np.testing.assert_allclose(large, own.reshape(16, -1, 3).mean(1), atol=4)


def test_the_mixture_is_exact_over_time(open_batches):
    counts = np.zeros(2)
    for number, batch in enumerate(take(open_batches(), 10)):
        counts += np.bincount(batch["source"], minlength=2)
        want = np.array([0.75, 0.25]) * 16 * (number + 1)
        assert np.abs(counts - want).max() <= 1


def test_shapes_are_told_without_data(open_batches, make_mesh):
    told = picture_shapes(EXAMPLE, make_mesh(2))
    batch = next(open_batches())
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), t) for t in (batch, *told)]
    assert shapes[0] == shapes[1]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Noise, of which every `bad`-th is flat, and every `broken`-th cannot be decoded."""

    bad: int = 0
    broken: int = 0

    def __len__(self):
        return 64

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 256, (40, 30, 3), np.uint8)
        if self.bad and index % self.bad == 0:
            image = np.full_like(image, 7)
        broken = self.broken and index % self.broken == 0
        return Record(f"r{index}", b"no picture" if broken else image, ())


@pytest.fixture
def noise(monkeypatch):
    known = {}
    monkeypatch.setattr(mixture, "open_source", lambda spec: Source(spec, known[spec]))
    return known


def test_bad_and_broken_pictures_are_replaced_and_counted(open_batches, noise):
    noise["a"] = Pictures(bad=8, broken=5)
    strict = dataclasses.replace(EXAMPLE, quality=QualitySettings(min_contrast=1.0))
    batches = open_batches(strict, train="a")
    ids = [int(i[1:]) for _ in range(8) for i in (take(batches, 1) and batches.ids)]
    assert all(i % 8 and i % 5 for i in ids)
    assert batches.stats()["data/corrupt_records"] == len(
        {i for i in range(64) if i % 8 * (i % 5) == 0}
    )
    reasons = batches.get_state()["corrupt"].values()
    assert any("quality: flat" in r for r in reasons)
    assert any("undecodable" in r for r in reasons)


def test_nothing_good_enough_ends_the_run(open_batches, noise):
    noise["a"] = Pictures(bad=1)
    strict = dataclasses.replace(EXAMPLE, quality=QualitySettings(min_contrast=1.0))
    with pytest.raises(TooManyCorruptRecords, match="quality: flat"):
        next(open_batches(strict, train="a"))


def test_a_batch_that_does_not_divide_names_the_field(make_mesh):
    example = dataclasses.replace(EXAMPLE, config=dataclasses.replace(CONFIG, global_batch=12))
    with pytest.raises(ConfigError, match=r"config\.data\.global_batch = 12"):
        picture_shapes(example, make_mesh(8))


def test_a_picture_of_parts_of_patches_is_an_error():
    with pytest.raises(ConfigError, match="not a whole number of patches of 5 pixels"):
        _ = View(24, 5).side


META = {"kind": "hog", "shape": [3, 2], "train": "a"}


@pytest.fixture
def cache(tmp_path):
    features = [np.arange(6, dtype=np.float32).reshape(3, 2) + i for i in range(64)]
    features[5] = None
    write_source(str(tmp_path), 0, (features[:40], features[40:]))
    finish(str(tmp_path), META)
    return str(tmp_path)


def test_cached_features_come_with_their_record(open_batches, noise, cache):
    noise["a"] = Pictures()
    stored = open_cache(cache, META, "config.teachers.x.cache")
    example = dataclasses.replace(EXAMPLE, caches={"x": stored}, teachers=())
    batches = open_batches(example, train="a", crop_scale=(1.0, 1.0), flip=False)
    for _ in range(4):
        batch = take(batches, 1)[0]
        numbers = [int(i[1:]) for i in batches.ids]
        want = np.arange(6).reshape(1, 3, 2) + np.asarray(numbers)[:, None, None]
        assert_equal(batch["teachers"]["x"].astype(np.float32), want)
        assert 5 not in numbers
    told = picture_shapes(example, batches._mesh)[0]["teachers"]["x"]
    assert (told.shape, told.dtype) == (batch["teachers"]["x"].shape, batch["teachers"]["x"].dtype)


def test_a_cache_of_another_run_or_none_is_refused(cache, tmp_path):
    with pytest.raises(ConfigError, match="train: cache a, config b"):
        open_cache(cache, META | {"train": "b"}, "config.teachers.x.cache")
    with pytest.raises(FileNotFoundError, match="cache_features"):
        open_cache(str(tmp_path / "none"), META, "config.teachers.x.cache")


def test_damaged_features_are_a_corrupt_record(cache):
    wrong = FeatureCache(cache, (3, 4))
    with pytest.raises(CorruptRecord, match="12 bytes, expected"):
        wrong.read(0, 1)
    with pytest.raises(CorruptRecord):
        FeatureCache(cache, (3, 2)).read(0, 5)
