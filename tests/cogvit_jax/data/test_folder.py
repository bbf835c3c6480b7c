"""Folders of pictures: every way of writing captions, and every mistake, by file and line."""

import json
import pickle

import pytest

from cogvit_jax.data import annotations
from cogvit_jax.data.records import CorruptRecord, Record
from cogvit_jax.data.sources import open_source


def test_folder_jsonl(pictures, jpeg, write_lines):
    write_lines(
        pictures,
        {"image": "a/0.jpg", "caption": " a red dress ", "label": "dress"},
        "",
        {"image": "a/1.jpg", "captions": [{"lang": "zh", "text": "帽子"}, "a hat", "  "]},
        {"image": "a/2.jpg", "text": "dress", "label": "coat", "concept": "winter"},
        {"image": "a/0.jpg", "captions": ["红色连衣裙"]},
    )
    source = open_source(f"folder:{pictures}")
    assert source.name == f"folder:{pictures}"
    assert source.classes == {"en": ("coat", "dress")}
    assert source.templates == {"en": ("a photo of a {}",)}
    records = list(pickle.loads(pickle.dumps(source.records)))
    assert records == [
        Record("a/0.jpg", jpeg(0), ("a red dress", "红色连衣裙"), "", 1),
        Record("a/1.jpg", jpeg(1), ("帽子", "a hat"), "", -1),
        Record("a/2.jpg", jpeg(2), ("dress",), "winter", 0),
    ]


@pytest.mark.parametrize("heading", [(), ("image\tcaption\tlabel",)])
def test_folder_tsv(pictures, heading, write_lines):
    lines = "a/0.jpg\ta dress\tdress", "a/1.jpg\ta hat", "a/0.jpg\t连衣裙\tdress"
    write_lines(pictures, *heading, *lines, name="captions.tsv")
    source = open_source(f"folder:{pictures}")
    assert [r.captions for r in source.records] == [("a dress", "连衣裙"), ("a hat",)]
    assert [r.label for r in source.records] == [0, -1]


def test_folder_classes_give_order_and_languages(pictures, write_lines):
    classes = {"en": ["hat", "dress"], "zh": ["帽子", "连衣裙"]}
    content = {"classes": classes, "templates": {"zh": ["一张{}的照片"]}}
    (pictures / "classes.json").write_text(json.dumps(content), "utf-8")
    lines = [
        {"image": f"a/{i}.jpg", "caption": "x", "label": v} for i, v in enumerate(["dress", 0])
    ]
    write_lines(pictures, *lines)
    source = open_source(f"folder:{pictures}")
    assert source.classes["zh"] == ("帽子", "连衣裙")
    assert source.templates == {"zh": ("一张{}的照片",)}
    assert [r.label for r in source.records] == [1, 0]
    write_lines(pictures, {"image": "a/0.jpg", "caption": "x", "label": "dres"})
    with pytest.raises(ValueError, match=r"captions.jsonl:1: label 'dres' .* nearest: 'dress'"):
        open_source(f"folder:{pictures}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"image": "a/0.jpg", ', "captions.jsonl:2: expected"),
        ('{"caption": "x"}', "captions.jsonl:2: .*KeyError: 'image'"),
        ('["a/0.jpg", "x"]', "captions.jsonl:2: expected"),
        ('{"image": "a/0.jpg", "caption": 3}', "captions.jsonl:2: .*a caption is a string"),
        ('{"image": "a/1.jpg", "caption": "y", "label": "b"}', "label 'b' here but 'a' at .*:1"),
    ],
)
def test_folder_lines_that_cannot_be_read(pictures, line, message, write_lines):
    write_lines(pictures, {"image": "a/1.jpg", "caption": "x", "label": "a"}, line)
    with pytest.raises(ValueError, match=message):
        open_source(f"folder:{pictures}")


def test_folder_tsv_lines_that_cannot_be_read(pictures, write_lines):
    write_lines(pictures, "a/0.jpg a hat", name="captions.tsv")
    with pytest.raises(ValueError, match=r"captions.tsv:1: expected image<TAB>caption"):
        open_source(f"folder:{pictures}")
    (pictures / "captions.tsv").write_bytes(b"a/0.jpg\tcaf\xe9\n")
    with pytest.raises(ValueError, match=r"captions.tsv:1: not UTF-8"):
        open_source(f"folder:{pictures}")


def test_folder_without_or_with_empty_captions_file(pictures, write_lines):
    with pytest.raises(FileNotFoundError, match=r'write .*captions.jsonl .*"image": "1.jpg"'):
        open_source(f"folder:{pictures}")
    write_lines(pictures, "")
    with pytest.raises(ValueError, match="has no records"):
        open_source(f"folder:{pictures}")


def test_folder_records_that_are_corrupt(pictures, write_lines):
    write_lines(
        pictures,
        {"image": "a/9.jpg", "caption": "not there"},
        {"image": "a/0.jpg", "captions": ["", "  "]},
        {"image": "a/1.jpg"},
    )
    records = open_source(f"folder:{pictures}").records
    for index, message in enumerate(
        ["a/9.jpg .*:1.*No such file", "a/0.jpg: no cap", "a/1.jpg: no"]
    ):
        with pytest.raises(CorruptRecord, match=message):
            records[index]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", 'expected {"classes"'),
        ('{"classes": {"en": ["a"], "zh": []}}', "equally many"),
        ('{"classes": {"zh": ["a"]}}', "needs 'en'"),
        ('{"classes": {"en": ["a"]}, "templates": {"en": ["photo"]}}', "lacks '{}'"),
    ],
)
def test_class_files_that_cannot_be_read(tmp_path, content, message):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        annotations.read_classes(tmp_path)
