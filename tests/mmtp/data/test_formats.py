"""Every format gives back the documents that were written, and names what is damaged."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from cogvit_jax.data.records import CorruptRecord
from mmtp.data.convert import WRITERS
from mmtp.data.formats import check_writable, encoded_file, ending, from_fields, to_fields
from mmtp.data.records import CATEGORIES, ROLES, Document, Image, Message, Text, Video
from mmtp.data.sources import SCHEMES

ENDINGS = {"array_record": "array_record", "jsonl": "jsonl", "webdataset": "tar"}
FORMATS = tuple(ENDINGS)


def picture(kind="PNG", seed=0, side=24):
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Pillow.fromarray(noise).save(file, kind)
    return file.getvalue()


PNG, JPEG, WEBP = picture("PNG"), picture("JPEG"), picture("WEBP")


def conversation(name="a/1"):
    video = Video((PNG, JPEG), (0.1, 1 / 3))
    question = Message("user", (Image(PNG), Text(" 看 <|image|>\u2028\n"), video, Image(WEBP)))
    reply = Message("assistant", (Text("7"),), thinking="hm\n")
    return Document(name, "ocr", (question, reply), {"answer": "7", "box": [1, 2.5, None]})


def plain(name="a/2"):
    return Document(name, "text", (Message("", (Text("a cat"), Image(PNG))),))


def write(form, folder, *documents):
    """Writes one file; returns the records that are read from it."""
    path = Path(folder) / f"set.{ENDINGS[form]}"
    assert WRITERS[form](path, documents) == len(documents)
    return SCHEMES[form](str(path)).records, path


@pytest.mark.parametrize("form", FORMATS)
def test_documents_come_back_as_they_were(form, tmp_path):
    documents = [conversation(), plain(), conversation("b")]
    records, path = write(form, tmp_path, *documents)
    for copy in (records, pickle.loads(pickle.dumps(records))):
        assert [copy[i] for i in range(len(copy))] == documents
    assert not list(tmp_path.glob("*.partial"))
    assert str(path) in records.place(1)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_not_finished_is_not_there(form, tmp_path):
    def documents():
        yield plain()
        raise RuntimeError("power failure")

    path = tmp_path / f"set.{ENDINGS[form]}"
    with pytest.raises(RuntimeError, match="power"):
        WRITERS[form](path, documents())
    assert not path.exists()


VALID = st.text(st.characters(exclude_categories=["Cs"]))
SECONDS = st.floats(0, 1e6)
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": VALID}),
    st.fixed_dictionaries({"type": st.just("image"), "image": st.binary()}),
    st.builds(
        lambda frames: {
            "type": "video",
            "frames": [data for data, _ in frames],
            "seconds": [second for _, second in frames],
        },
        st.lists(st.tuples(st.binary(), SECONDS), max_size=3),
    ),
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from([*ROLES, ""]), "content": st.lists(PARTS, max_size=4)},
    optional={"thinking": st.text("aé\n", min_size=1)},
)
TAGS = st.dictionaries(VALID, st.integers() | VALID | st.booleans() | SECONDS, min_size=1)
FIELDS = st.fixed_dictionaries(
    {
        "id": VALID,
        "category": st.sampled_from(CATEGORIES),
        "messages": st.lists(MESSAGES, max_size=3),
    },
    optional={"tags": TAGS},
)


@settings(max_examples=100)
@given(FIELDS)
def test_fields_lose_nothing(fields):
    document = from_fields(fields, lambda data: data, "here")
    assert to_fields(document, lambda data: data) == fields
    pictures = []

    def store(data):
        pictures.append(data)
        return len(pictures) - 1

    through_json = json.loads(json.dumps(to_fields(document, store)))
    assert from_fields(through_json, pictures.__getitem__, "here") == document


@pytest.mark.parametrize("form", FORMATS)
def test_pixels_come_back_exactly(form, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    document = Document("a", "ocr", (Message("user", (Image(pixels), Image(pixels[..., 0]))),))
    records, _ = write(form, tmp_path, document)
    first, second = (
        np.asarray(Pillow.open(io.BytesIO(p.data))) for p in records[0].messages[0].parts
    )
    np.testing.assert_array_equal(first, pixels)
    np.testing.assert_array_equal(second, pixels[..., 0])


def test_content_may_be_a_text_and_the_id_may_be_missing():
    fields = {"category": "text", "messages": [{"role": "user", "content": "hi"}]}
    expected = Document("file:3", "text", (Message("user", (Text("hi"),)),))
    assert from_fields(fields, encoded_file, "file:3") == expected


def fields_with(**changes):
    return {"id": "a", "category": "ocr", "messages": [{"role": "user", "content": "x"}]} | changes


def message_with(*parts, **changes):
    return fields_with(messages=[{"role": "user", "content": [*parts]} | changes])


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ([1], "the record is a list, not an object"),
        ({}, "lacks category, messages"),
        (fields_with(category="orc"), "category 'orc' is not known. Did you mean 'ocr'"),
        (fields_with(category=["ocr"]), "is not known"),
        (fields_with(message=[]), "field 'message' of the record is not known.*'messages'"),
        (fields_with(messages="x"), "'messages' is not a list"),
        (fields_with(tags=[]), "'tags' is a list"),
        (fields_with(id=7), "'id' is a int"),
        (message_with(role="usr"), "role 'usr' is not known. Did you mean 'user'"),
        (message_with(content=7), "'content' is a int"),
        (message_with(thought="x"), "field 'thought' of a message"),
        (message_with({"type": "audio"}), "type 'audio'; known: text, image, video"),
        (message_with("x"), "type None"),
        (message_with({"type": "text"}), "lacks text"),
        (message_with({"type": "text", "text": 7}), "'text' is a int"),
        (message_with({"type": "image", "image": "no.png"}), "picture 'no.png' cannot be read"),
        (message_with({"type": "image", "image": 7}), "picture 'int' cannot be read"),
        (message_with({"type": "video", "frames": [], "seconds": 1}), "must be lists"),
        (message_with({"type": "video", "frames": [], "seconds": [1]}), "0 frames has seconds"),
    ],
)
def test_faults_name_place_and_field(fields, match):
    with pytest.raises(CorruptRecord, match=f"^set:17: .*{match}"):
        from_fields(fields, lambda name: Path("/nowhere", name).read_bytes(), "set:17")


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (Document("a", "text", (), {"x": np.int64(1)}), "which is not JSON"),
        (Document("a", "text", (), {"x": float("nan")}), "not JSON compliant"),
        (Document("a", "text", (Message("user", (Text("\udc00"),)),)), "surrogates"),
    ],
)
def test_what_cannot_be_written(document, match):
    with pytest.raises(CorruptRecord, match=f"'a' cannot be written: .*{match}"):
        check_writable(document)


def test_endings():
    known = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
    assert [ending(picture(kind)) for kind in known] == list(known.values())
    assert ending(b"<html>") == "bin"


# Damaged files.


def test_a_line_that_is_cut_off_and_a_blank_one(tmp_path):
    _, path = write("jsonl", tmp_path, plain("a"), plain("b"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\n", b"\n\n", 1)[:-20])
    records = SCHEMES["jsonl"](str(path)).records
    assert len(records) == 2
    assert records[0] == plain("a")
    with pytest.raises(CorruptRecord, match=r"set\.jsonl:3: the line is not JSON"):
        records[1]


def test_a_picture_that_is_missing(tmp_path):
    records, _ = write("jsonl", tmp_path, plain())
    (file,) = (tmp_path / "set_pictures").glob("*/*.png")
    file.unlink()
    with pytest.raises(
        CorruptRecord, match=rf"set\.jsonl:1: picture .*{file.name}' cannot be read"
    ):
        records[0]


def test_equal_pictures_are_one_file(tmp_path):
    write("jsonl", tmp_path, plain("a"), plain("b"))
    assert len(list((tmp_path / "set_pictures").glob("*/*"))) == 1


@pytest.mark.parametrize("share", [0.35, 0.5, 0.8])
def test_a_truncated_tar_loses_only_what_is_cut_off(share, tmp_path):
    documents = [conversation(str(i)) for i in range(6)]
    records, path = write("webdataset", tmp_path, *documents)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    records = SCHEMES["webdataset"](str(path)).records
    good = []
    for index in range(len(records)):
        try:
            good.append(records[index])
        except CorruptRecord as error:
            assert str(path) in str(error)  # noqa: PT017
    assert good == documents[: len(good)]
    assert 1 <= len(good) < 6
    with pytest.raises(CorruptRecord, match=r"truncated|ends within"):
        records[len(records) - 1]


@pytest.mark.parametrize("extension", ["json", "0.png"])
def test_a_tar_cut_within_a_member(extension, tmp_path):
    _, path = write("webdataset", tmp_path, plain("a"), plain("b"))
    with tarfile.open(path) as tar:
        member = tar.getmember(f"000000001.{extension}")
    path.write_bytes(path.read_bytes()[: member.offset_data + member.size - 1])
    records = SCHEMES["webdataset"](str(path)).records
    assert records[0] == plain("a")
    with pytest.raises(CorruptRecord, match=rf"000000001: .*ends within 000000001\.{extension}"):
        records[1]


def test_a_tar_cut_between_members(tmp_path):
    _, path = write("webdataset", tmp_path, plain("a"), plain("b"))
    with tarfile.open(path) as tar:
        second = tar.getmember("000000001.json").offset
    path.write_bytes(path.read_bytes()[:second])
    records = SCHEMES["webdataset"](str(path)).records
    assert records[0] == plain("a")
    with pytest.raises(CorruptRecord, match="the shard is truncated"):
        records[1]


def test_members_that_are_missing(tmp_path):
    path = tmp_path / "set.tar"
    fields = message_with({"type": "image", "image": "0.png"})
    with tarfile.open(path, "w") as tar:
        for name, content in (("1.json", json.dumps(fields).encode()), ("2.0.png", PNG)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    records = SCHEMES["webdataset"](str(path)).records
    with pytest.raises(CorruptRecord, match=r"set\.tar/1: the shard has no member 1\.0\.png"):
        records[0]
    with pytest.raises(CorruptRecord, match=r"set\.tar/2: the shard has no member 2\.json"):
        records[1]


def test_a_damaged_array_record(tmp_path):
    records, path = write("array_record", tmp_path, *(plain(str(i)) for i in range(3)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a whole ArrayRecord file"):
        SCHEMES["array_record"](str(path))
    with pytest.raises(IndexError, match="has 3 records; asked for 3"):
        records[3]
