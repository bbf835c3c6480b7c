"""Drawn pictures: pure in their number, varied, readable, and captions that say what is drawn."""

import functools
import hashlib
import pickle

import numpy as np
import pytest
from fontTools.ttLib import TTFont

from cogvit_jax.data.assets import FONT_PATH
from cogvit_jax.data.embedded import open_embedded
from cogvit_jax.data.rendered import KINDS, SPLITS, open_rendered
from cogvit_jax.data.rendering import canvas, screens, texts
from cogvit_jax.data.sources import open_source
from cogvit_jax.data.text import load_tokenizer, token_ids
from tests.at_most import at_most

NAMES = ("instruct", "science")


@functools.cache
def _some(name, split="train", count=120):
    """The first records: every kind several times."""
    source = open_rendered(name, split)
    return [source.records[i] for i in range(count)]


def _is_chinese(text):
    return any("\u4e00" <= c <= "\u9fff" for c in text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_opens_like_the_other_embedded_sources(name, split):
    source = open_source(f"embedded:{name}/{split}")
    assert source == open_embedded(f"{name}/{split}")
    assert source.name == f"embedded:{name}/{split}"
    assert len(source.records) == SPLITS[split]
    assert not source.flippable
    for language in ("en", "zh"):
        assert len(set(source.classes[language])) == len(KINDS[name])
        assert all(t.count("{}") == 1 for t in source.templates[language])
    last = source.records[len(source.records) - 1]
    assert last.id == f"{name}/{split}/{len(source.records) - 1:05d}"
    for outside in (-1, len(source.records)):
        with pytest.raises(IndexError, match=f"asked for {outside}"):
            source.records[outside]


@pytest.mark.parametrize("name", NAMES)
def test_a_record_depends_on_its_number_only(name):
    source = open_rendered(name, "train")
    copy = pickle.loads(pickle.dumps(source))
    backwards = [copy.records[i] for i in reversed(range(40))]
    for record, again in zip(_some(name), reversed(backwards), strict=False):
        np.testing.assert_array_equal(record.image, again.image)
        assert record.captions == again.captions
        assert (record.id, record.concept, record.label) == (again.id, again.concept, again.label)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_colour_of_about_the_asked_size_and_differ(name):
    pictures = [r.image for r in (*_some(name), *_some(name, "heldout"))]
    for image in pictures:
        height, width, channels = image.shape
        assert channels == 3
        assert image.dtype == np.uint8
        assert 0.9 * 224**2 < height * width < 1.35 * 224**2  # a strip with the instruction adds
        assert 0.45 < width / height < 2.2
        assert image.std() > 3  # not blank
    hashes = {hashlib.sha256(image.tobytes()).digest() for image in pictures}
    assert len(hashes) == len(pictures)
    aspects = [image.shape[1] / image.shape[0] for image in pictures]
    assert np.ptp(aspects) > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_captions_are_bilingual_and_concepts_belong_to_them(name):
    source = open_rendered(name, "train")
    captions = {}
    for record in _some(name):
        by_language = [tuple(c for c in record.captions if not c.isascii()), record.captions]
        assert all(c.strip() == c and c for c in record.captions)
        assert len(set(record.captions)) == len(record.captions) >= 4
        assert sum(map(_is_chinese, record.captions)) >= 2, by_language
        assert record.label == int(record.id[-5:]) % len(KINDS[name])
        assert 0 <= record.label < len(source.classes["en"])
        # Equal concepts: equal captions, except that a page's lists are drawn in two languages.
        assert captions.setdefault(record.concept, record.captions) == record.captions


def test_science_captions_name_their_class_in_both_languages():
    source = open_rendered("science", "train")
    for record in _some("science"):
        en, zh = (source.classes[language][record.label] for language in ("en", "zh"))
        assert any(en in c for c in record.captions), record.captions
        head = zh.removesuffix("图像")
        assert any(head in c for c in record.captions), record.captions


def test_both_languages_are_drawn():
    chinese = [_is_chinese(record.captions[0]) for record in _some("instruct")]
    assert 0.3 < np.mean(chinese) < 0.7  # an English caption quotes what the picture says


@pytest.mark.parametrize("name", NAMES)
def test_text_lies_inside_the_picture_and_the_font_has_it(name, monkeypatch):
    drawable = set(map(chr, TTFont(FONT_PATH).getBestCmap()))
    outside, drawn = [], []
    draw = canvas.Sheet.text

    def check(sheet, at, text, size, fill=canvas.BLACK, anchor="la"):
        place = (at[0] * sheet.scale, at[1] * sheet.scale)
        font = canvas._font(size * sheet.scale)
        box = sheet.pen.textbbox(place, text, font, anchor)
        slack = 2 * sheet.scale
        inside = box[0] >= -slack and box[2] <= sheet.image.width + slack
        inside &= box[1] >= -slack and box[3] <= sheet.image.height + slack
        if not inside:
            outside.append((text, box, sheet.image.size))
        assert set(text) <= drawable, text
        assert size >= 8, text
        drawn.append(text)
        draw(sheet, at, text, size, fill, anchor)

    monkeypatch.setattr(canvas.Sheet, "text", check)
    source = open_rendered(name, "heldout")
    for i in range(400):
        source.records[i]
    assert len(drawn) > 400
    assert not outside, outside[:5]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_boxes_of_a_dialog_lie_inside_its_window(language, monkeypatch):
    boxes = []
    draw = canvas.Sheet.box

    def record(sheet, corners, *arguments, **options):
        boxes.append(corners)
        draw(sheet, corners, *arguments, **options)

    for seed in range(150):
        boxes.clear()
        monkeypatch.setattr(canvas.Sheet, "box", record)
        sheet, _, back = screens._desktop(np.random.default_rng(seed), (200, 224))
        boxes.clear()
        # The same draws again, now with the window: what lies behind it comes first.
        monkeypatch.setattr(
            screens, "_desktop", lambda rng, size, s=sheet, b=back: (s, (0, 0, 0), b)
        )
        screens.dialog(np.random.default_rng(seed), language)
        monkeypatch.undo()
        left, top, right, bottom = boxes[0]
        for x0, y0, x1, y1 in boxes[1:]:
            assert left - 1 <= x0 < x1 <= right + 1
            assert top <= y0 < y1 <= bottom


def test_every_word_of_the_tables_can_be_drawn():
    assert not texts.drawn() - set(map(chr, TTFont(FONT_PATH).getBestCmap()))


@pytest.mark.parametrize("name", NAMES)
def test_the_embedded_vocabulary_spells_every_caption(name):
    tokenizer = load_tokenizer()
    lengths = []
    for record in _some(name):
        for caption in record.captions:
            ids = token_ids(tokenizer, caption)
            assert tokenizer.decode(ids[:-1]) == caption.lower()
            lengths.append(len(ids))
    assert np.percentile(lengths, 90) <= 64  # what text towers are usually given


@pytest.mark.parametrize("name", NAMES)
def test_drawing_is_fast(name):
    source = open_rendered(name, "train")
    _some(name)  # fonts are read on first use
    # 2 ms measured on one core; loaders decode a JPEG in about 2.
    with at_most(100 * 0.02):
        for i in range(100):
            source.records[i]


@pytest.mark.parametrize(
    ("text", "room"),
    [("a few English words that must wrap", 60), ("一些中文，没有空格，也要换行。" * 3, 80)],
)
def test_wrapped_lines_fit_and_lose_nothing(text, room):
    lines = canvas.wrap(text, 12, room)
    joint = " " if text.isascii() else ""
    assert joint.join(lines) == text
    assert len(lines) > 2
    for line in lines:
        assert canvas.text_width(line, 12) <= room + 1
        assert line[0] not in "，。"
