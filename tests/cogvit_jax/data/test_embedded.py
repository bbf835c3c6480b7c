"""The embedded digits and photographs: sizes, splits, captions and the font that can draw them."""

import io
import pickle
import string

import numpy as np
import pytest
from PIL import Image, ImageFont
from sklearn.datasets import load_digits

from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.embedded import all_text, open_embedded


def _pixels(record):
    if isinstance(record.image, bytes):
        return np.asarray(Image.open(io.BytesIO(record.image)).convert("RGB"))
    return record.image


def _is_chinese(text):
    return any("\u4e00" <= c <= "\u9fff" for c in text)


def test_digits_are_those_of_scikit_learn():
    reference = load_digits()
    both = (*open_embedded("digits/train").records, *open_embedded("digits/heldout").records)
    records = {r.id: r for r in both}
    assert len(records) == 1797
    for i in range(1797):
        record = records[f"digits/{i:04d}"]
        assert record.image.dtype == np.uint8
        np.testing.assert_allclose(record.image, reference.images[i] * 255 / 16, atol=0.5)
        assert record.label == reference.target[i]


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_no_picture_is_on_both_sides(name):
    train, heldout = (open_embedded(f"{name}/{s}").records for s in ("train", "heldout"))
    pixels = [{_pixels(r).tobytes() for r in side} for side in (train, heldout)]
    ids = [{r.id for r in side} for side in (train, heldout)]
    assert not pixels[0] & pixels[1]
    assert not ids[0] & ids[1]
    assert sum(map(len, ids)) == len(train) + len(heldout)
    assert 0.15 < len(heldout) / (len(train) + len(heldout)) < 0.25


@pytest.mark.parametrize("spec", ["digits/train", "digits/heldout"])
def test_digit_captions_name_their_own_digit_only(spec):
    source = open_embedded(spec)
    names = list(zip(source.classes["en"], source.classes["zh"], string.digits, strict=True))
    for record in source.records[:100]:
        for caption in record.captions:
            # "一个" means "a": it names no digit. English words must match whole.
            rest = caption.replace("一个", "")
            words = rest if _is_chinese(rest) else rest.split()
            named = [i for i, forms in enumerate(names) if any(f in words for f in forms)]
            assert named == [record.label], caption
        assert record.concept == f"digit {record.label}"
        assert any(source.classes["en"][record.label] in c for c in record.captions)
        assert any(source.classes["zh"][record.label] in c for c in record.captions)
    assert not source.flippable
    assert {r.label for r in source.records} == set(range(10))


def test_photos_decode_and_the_stereo_pair_is_not_split():
    train, heldout = (open_embedded(f"photos/{s}").records for s in ("train", "heldout"))
    for record in (*train, *heldout):
        assert min(_pixels(record).shape[:2]) >= 25, record.id
    assert sum(r.concept == "motorcycle" for r in train) == 2
    whole = [{r.concept for r in side if r.label == -1} for side in (train, heldout)]
    assert len(whole[0]) >= 20
    assert len(whole[1]) >= 5
    assert not whole[0] & whole[1]


def test_faces_are_the_first_hundred_of_the_subset():
    for split in ("train", "heldout"):
        records = open_embedded(f"photos/{split}").records
        faces = [r for r in records if r.id.startswith("photos/lfw_")]
        assert len(faces) == sum(r.label != -1 for r in records)
        assert all(r.label == int(r.id[-3:]) // 100 for r in faces)
        assert {(r.label, r.concept) for r in faces} == {(0, "face"), (1, "not a face")}
        assert min(np.bincount([r.label for r in faces])) >= 10


@pytest.mark.parametrize("name", ["digits", "photos"])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_record_has_both_languages_and_a_valid_class(name, split):
    source = open_embedded(f"{name}/{split}")
    assert source.name == f"embedded:{name}/{split}"
    for language in ("en", "zh"):
        assert len(set(source.classes[language])) == len(source.classes["en"])
        assert all(t.count("{}") == 1 for t in source.templates[language])
    for record in source.records:
        chinese = sum(map(_is_chinese, record.captions))
        assert chinese >= 2
        assert len(set(record.captions)) - chinese >= 2
        assert -1 <= record.label < len(source.classes["en"])
        assert record.concept
    assert pickle.loads(pickle.dumps(source.records[3])).captions == source.records[3].captions


@pytest.mark.parametrize("rest", ["", "digits", "digits/test", "photo/train", "digits/train/x"])
def test_unknown_source_is_named_with_the_choice(rest):
    with pytest.raises(ValueError, match=rf"'embedded:{rest}'.*embedded:digits/heldout"):
        open_embedded(rest)


def test_missing_package_names_the_remedy(monkeypatch):
    monkeypatch.setattr("cogvit_jax.data.embedded.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"digits\.csv\.gz.*pip install scikit-learn"):
        open_embedded("digits/train")


def test_font_draws_every_embedded_character():
    from fontTools.ttLib import TTFont

    drawable = TTFont(FONT_PATH).getBestCmap()
    missing = set("".join(all_text()) + string.printable[:95]) - set(map(chr, drawable))
    assert not missing
    assert FONT_PATH.stat().st_size <= 150_000
    font = ImageFont.truetype(str(FONT_PATH), 24)
    assert bytes(font.getmask("七")) != bytes(font.getmask("\U0001f98a"))  # a glyph, not the box


@pytest.mark.parametrize("name", ["instruct", "science"])
def test_drawn_sets_open_here_and_stay_out_of_the_vocabularys_corpus(name):
    source = open_embedded(f"{name}/heldout")
    assert source.name == f"embedded:{name}/heldout"
    assert source.records[3].image.shape[2] == 3
    corpus = set(all_text())
    captions = {c for i in range(24) for c in source.records[i].captions}
    assert not captions & corpus
    assert not set(source.classes["en"]) & corpus
    with pytest.raises(ValueError, match=f"'embedded:{name}/test'.*instruct"):
        open_embedded(f"{name}/test")
