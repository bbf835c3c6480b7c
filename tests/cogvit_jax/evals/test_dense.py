"""Segmentation and correspondence against answers that are known; scenes; folders with masks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cogvit_jax.data.records import CorruptRecord, Record, Source
from cogvit_jax.evals.correspondence import (
    View,
    correspondence,
    cut,
    draw_view,
    match,
    to_picture,
    to_view,
)
from cogvit_jax.evals.dense import confusion, labelled_patches, scores, segmentation
from cogvit_jax.evals.logistic import fit_logistic
from cogvit_jax.evals.masked import MaskedSource, open_masked_folder, patch_classes
from cogvit_jax.evals.scenes import CLASSES, make_scenes

COLOUR_ONLY = np.asarray([1, 1, 1, 0, 0], np.float32)
PAINT = np.asarray([[200, 10, 10], [10, 200, 10], [10, 10, 200]], np.uint8)


@dataclasses.dataclass(frozen=True)
class Painted:
    """8 x 8 pictures of 2 x 2-pixel blocks in the colour of their class; one may be corrupt."""

    masks: np.ndarray
    corrupt: int = -1

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> Record:
        image = b"no picture" if index == self.corrupt else PAINT[self.masks[index]]
        return Record(str(index), image, ())

    def mask(self, index: int) -> np.ndarray:
        return self.masks[index]


@dataclasses.dataclass(frozen=True)
class OnePicture:
    """A picture whose colours are not those of its mask."""

    image: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Record:
        return Record("one", self.image, ())

    def mask(self, index: int) -> np.ndarray:
        return self.classes


def painted(count: int, seed: int, ignored: tuple[int, ...] = (), corrupt: int = -1):
    blocks = np.random.default_rng(seed).integers(0, 3, (count, 4, 4), dtype=np.uint8)
    masks = blocks.repeat(2, axis=1).repeat(2, axis=2)
    return MaskedSource("painted", Painted(masks, corrupt), ignored)


@pytest.mark.parametrize("devices", [1, 8])
def test_colours_that_are_classes_are_segmented_without_a_mistake(known_encoder, devices):
    embedder = known_encoder(devices, 2, 16, 4)
    found = segmentation(embedder, painted(9, 0, corrupt=1), painted(5, 1), COLOUR_ONLY)
    assert found["miou"] == found["pixel_accuracy"] == 1.0
    assert found["miou_majority"] < 0.2  # a third of the pixels right, two classes of three at 0
    assert 0.2 < found["pixel_accuracy_majority"] < 0.5


def test_ignored_classes_are_neither_learned_nor_scored(known_encoder):
    train, heldout = painted(9, 0, ignored=(1,)), painted(5, 1, ignored=(1,))
    _, labels = labelled_patches(known_encoder(1), train, COLOUR_ONLY, 10_000)
    assert set(labels.tolist()) == {0, 2}
    found = segmentation(known_encoder(1), train, heldout, COLOUR_ONLY)
    assert found["miou"] == found["pixel_accuracy"] == 1.0


def test_number_of_training_patches_is_capped(known_encoder):
    features, labels = labelled_patches(known_encoder(1), painted(6, 0), COLOUR_ONLY, 12)
    assert len(features) == len(labels) == 12
    few, _ = labelled_patches(known_encoder(1), painted(6, 0), COLOUR_ONLY, 3)
    assert len(few) == 3


def test_confusion_counts_pixels_of_patches_that_hold_two_classes(known_encoder):
    """A patch of 4 pixels, of which one is another class: that pixel is wrong, three are right."""
    train = painted(6, 0)
    mask = np.zeros((8, 8), np.uint8)
    mask[0, 0] = 2
    records = OnePicture(PAINT[np.zeros((8, 8), int)], mask)
    source = MaskedSource("one", records, ())
    predict = fit_logistic(*labelled_patches(known_encoder(1), train, COLOUR_ONLY, 1000))
    counts, always = confusion(known_encoder(1), source, COLOUR_ONLY, predict, majority=2)
    assert counts[0, 0] == 63
    assert counts[2, 0] == 1
    assert counts.sum() == always.sum() == 64
    assert always[0, 2] == 63
    assert scores(counts) == {"miou": pytest.approx((63 / 64 + 0) / 2), "pixel_accuracy": 63 / 64}


def test_sets_without_labels_are_errors_that_name_them(known_encoder):
    nothing = painted(3, 0, ignored=(0, 1, 2))
    with pytest.raises(ValueError, match="painted has no labelled patch"):
        segmentation(known_encoder(1), nothing, painted(3, 1), COLOUR_ONLY)
    with pytest.raises(ValueError, match="painted has no labelled pixel"):
        segmentation(known_encoder(1), painted(3, 1), nothing, COLOUR_ONLY)


def test_class_of_a_patch_is_its_pixels_majority():
    mask = np.asarray([[1, 1, 0, 2], [1, 0, 255, 255], [5, 5, 9, 9], [6, 6, 9, 9]], np.uint8)
    np.testing.assert_array_equal(patch_classes(mask, (2, 2)), [[1, -1], [5, 9]])
    np.testing.assert_array_equal(patch_classes(mask, (2, 2), ()), [[1, 255], [5, 9]])
    np.testing.assert_array_equal(patch_classes(mask[:1, :2], (2, 4)), [[1, 1, 1, 1]] * 2)


@pytest.mark.parametrize("shape", [(7, 11), (30, 20), (3, 50)])
def test_class_of_a_patch_equals_counting_pixel_centres(shape):
    mask = np.random.default_rng(0).integers(0, 3, shape, dtype=np.uint8)
    grid = (3, 5)
    votes = np.zeros((*grid, 3))
    for y, x in np.ndindex(shape):
        votes[int((y + 0.5) * 3 / shape[0]), int((x + 0.5) * 5 / shape[1]), mask[y, x]] += 1
    np.testing.assert_array_equal(patch_classes(mask, grid), votes.argmax(-1))


def test_scenes_are_repeatable_and_their_sides_share_nothing():
    first, again = (make_scenes("train", 12, 48).records for _ in range(2))
    heldout = make_scenes("heldout", 12, 48).records
    other = make_scenes("train", 12, 48, seed=1).records
    for i in range(12):
        np.testing.assert_array_equal(first[i].image, again[i].image)
        np.testing.assert_array_equal(first.mask(i), again.mask(i))
        assert np.any(first[i].image != other[i].image)
        assert np.any(first[i].image != heldout[i].image)
    found = np.unique(np.concatenate([r.mask(i) for r in (first, heldout) for i in range(12)]))
    assert found.tolist() == list(range(len(CLASSES)))


def views_of(flip: bool = True):
    """A picture of noise and many random views of it."""
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    rng = np.random.default_rng(1)
    return image, [draw_view(image, rng, (0.5, 1.0), flip) for _ in range(20)]


def test_views_lie_inside_and_are_mirrored_only_where_allowed():
    image, views = views_of()
    for view in views:
        assert 35 <= view.size <= 70
        assert 0 <= view.top <= 90 - view.size
        assert 0 <= view.left <= 70 - view.size
        assert cut(image, view, 32).shape == (32, 32, 3)
    assert 0 < sum(v.mirrored for v in views) < 20
    assert not any(v.mirrored for v in views_of(flip=False)[1])


def test_geometry_names_the_pixel_that_a_view_shows():
    image, views = views_of()
    for view in views:
        shown = cut(image, view, view.size)  # not resized: pixel for pixel
        points = (np.indices((view.size, view.size)).reshape(2, -1).T + 0.5) / view.size
        y, x = np.floor(to_picture(view, points)).astype(int).T
        np.testing.assert_array_equal(image[y, x], shown.reshape(-1, 3))
        np.testing.assert_allclose(to_view(view, to_picture(view, points)), points, atol=1e-9)


def test_match_of_features_that_are_places_is_exact_and_of_one_view_with_itself_zero():
    grid = 6
    centres = (np.indices((grid, grid)).transpose(1, 2, 0) + 0.5) / grid
    same = np.random.default_rng(0).normal(size=(grid, grid, 8)).astype(np.float32)
    view = View(3, 5, 60, False)
    found, every = match(view, view, same, same)
    np.testing.assert_allclose(found, 0, atol=1e-9)
    assert every.shape == (36, 36)
    mirrored = view._replace(mirrored=True)
    found, _ = match(view, mirrored, same, np.ascontiguousarray(same[:, ::-1]))
    np.testing.assert_allclose(found, 0, atol=1e-9)
    # Half as large, in the corner: its patches are a quarter of the other's, which shows 9 of 36.
    # A unit vector per place makes the nearest cosine the nearest place.
    small = View(3, 5, 30, False)
    places = [to_picture(v, centres.reshape(-1, 2)) for v in (view, small)]
    unit = [np.concatenate([p, np.full((36, 1), 100.0)], 1).astype(np.float32) for p in places]
    found, every = match(view, small, *(u.reshape(grid, grid, 3) for u in unit))
    assert every.shape == (9, 36)
    assert found.max() <= 0.5**0.5 + 1e-6  # half a patch's diagonal
    np.testing.assert_allclose(found, every.min(1), atol=1e-6)


def gradient_source(count: int = 3) -> Source:
    """Pictures whose colour names the place: red grows downwards, green to the right."""
    y, x = np.indices((96, 128)) / 128
    image = np.stack([40 + 200 * y, 40 + 200 * x, 120 + 0 * x], axis=-1).astype(np.uint8)
    small = Record("small", np.zeros((20, 300), np.uint8), ())
    return Source("gradients", (small, *(Record(str(i), image, ()) for i in range(count))))


def test_colours_that_name_the_place_correspond_and_constants_are_at_chance(known_encoder):
    embedder = known_encoder(2, 4, 64, 8)
    found = correspondence(embedder, gradient_source(), COLOUR_ONLY, num_pairs=12)
    assert found["pck"] > 0.95  # a cosine of colours names the place but for rounding to 8 bits
    assert found["error"] < 0.6
    assert 1 / 64 < found["pck_chance"] < 4 / 64  # 1 to 4 of 64 centres lie within one patch
    assert found["error_chance"] > 2
    flat = correspondence(embedder, gradient_source(), np.zeros(5, np.float32), num_pairs=12)
    assert flat["pck"] < 0.1
    assert flat["pck_chance"] == found["pck_chance"]


def test_correspondence_needs_pictures_of_some_size(known_encoder):
    with pytest.raises(
        ValueError, match="gradients has no readable picture with both sides of 500"
    ):
        correspondence(known_encoder(), gradient_source(), COLOUR_ONLY, min_side=500)


def write_folder(root: Path, names: tuple[str, ...] = ("a", "b")) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        for folder, shape in (("images", (6, 8, 3)), ("masks", (6, 8))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 3, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{name}.png")
    return root


def test_masked_folder_pairs_by_stem_and_reads_palettes(tmp_path):
    root = write_folder(tmp_path)
    mask = np.asarray(Image.open(root / "masks/a.png"))
    palette = Image.fromarray(mask).convert("P")
    palette.putdata(mask.reshape(-1).tolist())
    palette.save(root / "masks/a.png")
    source = open_masked_folder(f"folder:{root}", ignored=(0,))
    assert len(source.records) == 2
    assert source.ignored == (0,)
    np.testing.assert_array_equal(source.records.mask(0), mask)
    image = np.asarray(Image.open(root / "images/b.png"))
    np.testing.assert_array_equal(source.records[1].image, image)


def test_masked_folder_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*/absent"):
        open_masked_folder(str(tmp_path / "absent"))
    (tmp_path / "bare/images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*bare/masks; expected"):
        open_masked_folder(str(tmp_path / "bare"))
    (tmp_path / "bare/masks").mkdir()
    with pytest.raises(FileNotFoundError, match=r"bare/images has no file ending in \.jpg"):
        open_masked_folder(str(tmp_path / "bare"))
    root = write_folder(tmp_path / "full")
    (root / "masks/b.png").rename(root / "masks/c.png")
    with pytest.raises(ValueError, match=r"without a mask, the first .*images/b\.png"):
        open_masked_folder(str(root))
    (root / "images/b.png").unlink()
    with pytest.raises(ValueError, match=r"without a picture, the first .*masks/c\.png"):
        open_masked_folder(str(root))


def test_spoilt_masks_are_corrupt_records_and_left_out(tmp_path, known_encoder):
    root = write_folder(tmp_path, ("a", "b", "c", "d"))
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(root / "masks/b.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(root / "masks/c.png")
    (root / "masks/d.png").write_bytes(b"no picture")
    records = open_masked_folder(str(root)).records
    for index, message in ((1, "mode RGB"), (2, "6x8 pixels .* 9x8"), (3, "cannot identify")):
        with pytest.raises(CorruptRecord, match=message):
            records[index]
    source = MaskedSource("folder", records)
    features, _ = labelled_patches(known_encoder(1, 2, 12), source, COLOUR_ONLY, 1000)
    assert len(features) == 12  # of the one sound picture
