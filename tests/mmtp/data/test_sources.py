import pytest

from mmtp.data.documents import encode
from mmtp.data.images import ImageSettings
from mmtp.data.records import Image, Text
from mmtp.data.sources import open_source
from mmtp.data.tokenizer import load_tokenizer


@pytest.mark.parametrize("spec", ["tasks:digits/heldout", "pairs:embedded:digits/heldout"])
def test_sources_that_need_no_file(spec):
    source = open_source(spec)
    assert source.name == spec
    found = encode(source.records[0], load_tokenizer(), ImageSettings())
    assert len(found.visuals) == 1
    assert source.records[0].id == source.records[0].id


def test_pairs_are_a_picture_and_one_of_its_captions():
    records = open_source("pairs:embedded:digits/heldout").records
    chosen = set()
    for index in range(20):
        (message,) = records[index].messages
        picture, caption = message.parts
        captions = records[index].tags["captions"]
        assert isinstance(picture, Image)
        assert isinstance(caption, Text)
        chosen.add(captions.index(caption.text))
    assert len(chosen) > 1


def test_errors(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    for spec, match in (
        ("json:/x", "unknown scheme 'json'; did you mean 'jsonl:'"),
        ("jsonl:", "says nothing after 'jsonl:'"),
        (str(tmp_path), "lacks a scheme"),
        (f"jsonl:{tmp_path}/empty.jsonl", "has no records"),
        ("tasks:digits/test", "digits/test"),
    ):
        with pytest.raises(ValueError, match=match):
            open_source(spec)
    for scheme in ("jsonl", "array_record", "webdataset"):
        with pytest.raises(FileNotFoundError):
            open_source(f"{scheme}:{tmp_path}/none")
