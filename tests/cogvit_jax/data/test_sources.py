"""Every kind of source gives the same records back, and says what is wrong with its files."""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from cogvit_jax.data import annotations, webdataset
from cogvit_jax.data.array_records import write_array_record
from cogvit_jax.data.convert import convert
from cogvit_jax.data.records import CorruptRecord, Record
from cogvit_jax.data.sources import open_source
from cogvit_jax.data.transforms import decode_image


def jpeg(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_tar(path, members, cut=0):
    """A tar of name -> bytes, without its last `cut` bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = file.getvalue()
    path.write_bytes(data[: len(data) - cut])


@pytest.fixture
def log(monkeypatch):
    """The warnings that are logged."""
    lines = []
    monkeypatch.setattr(webdataset.logging, "warning", lambda text, *a: lines.append(text % a))
    return lines


@pytest.fixture
def pictures(tmp_path):
    """A folder of three pictures in a subfolder."""
    (tmp_path / "a").mkdir()
    for i in range(3):
        (tmp_path / f"a/{i}.jpg").write_bytes(jpeg(i))
    return tmp_path


def write_lines(folder, *lines, name="captions.jsonl"):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / name).write_text("\n".join(texts) + "\n", "utf-8")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("folde:/x", "unknown scheme 'folde'; did you mean 'folder:'"),
        ("gs:/x", "unknown scheme 'gs' Known: array_record, embedded"),
        ("folder:", "nothing after 'folder:'"),
        ("/", "write 'folder:/'"),
    ],
)
def test_specs_that_cannot_be_read(spec, message):
    with pytest.raises(ValueError, match=message):
        open_source(spec)


@pytest.mark.parametrize("scheme", ["folder", "webdataset", "array_record"])
def test_missing_paths(scheme, tmp_path):
    for name in ("none", "*.x"):
        with pytest.raises(FileNotFoundError, match=f"{scheme}.*{tmp_path}"):
            open_source(f"{scheme}:{tmp_path / name}")


def test_embedded_opens_through_the_same_door():
    assert open_source("embedded:digits/heldout").records[0].captions


def test_folder_jsonl(pictures):
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
def test_folder_tsv(pictures, heading):
    lines = "a/0.jpg\ta dress\tdress", "a/1.jpg\ta hat", "a/0.jpg\t连衣裙\tdress"
    write_lines(pictures, *heading, *lines, name="captions.tsv")
    source = open_source(f"folder:{pictures}")
    assert [r.captions for r in source.records] == [("a dress", "连衣裙"), ("a hat",)]
    assert [r.label for r in source.records] == [0, -1]


def test_folder_classes_give_order_and_languages(pictures):
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
def test_folder_lines_that_cannot_be_read(pictures, line, message):
    write_lines(pictures, {"image": "a/1.jpg", "caption": "x", "label": "a"}, line)
    with pytest.raises(ValueError, match=message):
        open_source(f"folder:{pictures}")


def test_folder_tsv_lines_that_cannot_be_read(pictures):
    write_lines(pictures, "a/0.jpg a hat", name="captions.tsv")
    with pytest.raises(ValueError, match=r"captions.tsv:1: expected image<TAB>caption"):
        open_source(f"folder:{pictures}")
    (pictures / "captions.tsv").write_bytes(b"a/0.jpg\tcaf\xe9\n")
    with pytest.raises(ValueError, match=r"captions.tsv:1: not UTF-8"):
        open_source(f"folder:{pictures}")


def test_folder_without_or_with_empty_captions_file(pictures):
    with pytest.raises(FileNotFoundError, match=r'write .*captions.jsonl .*"image": "1.jpg"'):
        open_source(f"folder:{pictures}")
    write_lines(pictures, "")
    with pytest.raises(ValueError, match="has no records"):
        open_source(f"folder:{pictures}")


def test_folder_records_that_are_corrupt(pictures):
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


def test_expand_braces():
    assert webdataset.expand_braces("a/{008..011}.tar") == [
        f"a/0{n}.tar" for n in ("08", "09", 10, 11)
    ]
    assert webdataset.expand_braces("{a,b}{1..2}") == ["a1", "a2", "b1", "b2"]
    assert webdataset.expand_braces("plain-*.tar") == ["plain-*.tar"]


def test_webdataset(tmp_path, log):
    label = {"captions": ["a hat"], "label": "hat", "concept": "c"}
    write_tar(
        tmp_path / "s-000.tar",
        {
            "0001.jpg": jpeg(1),
            "0001.txt": b"a dress\n\xe8\xa3\x99\xe5\xad\x90\n",
            "d/2.x.JPG": b"?",
        },
    )
    write_tar(
        tmp_path / "s-001.tar",
        {"b/1.json": json.dumps(label).encode(), "b/1.PNG": jpeg(2), "b/1.txt": b"unused"},
    )
    (tmp_path / "classes.json").write_text('{"classes": {"en": ["coat", "hat"]}}')
    by_braces = open_source(f"webdataset:{tmp_path}/s-{{000..001}}.tar")
    by_glob = open_source(f"webdataset:{tmp_path}/*.tar")
    records = list(pickle.loads(pickle.dumps(by_braces.records)))
    assert records == list(by_glob.records)
    assert records == [
        Record(f"{tmp_path}/s-000.tar/0001", jpeg(1), ("a dress", "裙子"), "", -1),
        Record(f"{tmp_path}/s-001.tar/b/1", jpeg(2), ("a hat",), "c", 1),
    ]
    assert "1 samples lack a picture or a caption" in log[0]


@pytest.mark.parametrize("broken", ["in data", "in header", "between members"])
def test_truncated_tar_keeps_its_complete_samples(tmp_path, log, broken):
    members = {}
    for i in range(3):
        members |= {f"{i}.jpg": jpeg(i), f"{i}.txt": b"caption"}
    write_tar(path := tmp_path / "0.tar", members)
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-2]  # 2.jpg: sample 2 is lost in every case
    keep = {"in data": last.offset_data + 50, "in header": last.offset + 50}
    path.write_bytes(path.read_bytes()[: keep.get(broken, last.offset)])
    source = open_source(f"webdataset:{path}")
    assert [r.image for r in source.records] == [jpeg(0), jpeg(1)]
    assert log == [f"{path} is truncated: using its 2 complete samples"]


def test_whole_tar_gives_no_warning(tmp_path, log):
    write_tar(tmp_path / "0.tar", {"1.jpg": jpeg(), "1.txt": b"x"})
    open_source(f"webdataset:{tmp_path}/0.tar")
    assert not log


def test_webdataset_records_that_are_corrupt(tmp_path):
    write_tar(
        tmp_path / "0.tar",
        {
            **{f"{i}.jpg": jpeg() for i in range(3)},
            "0.txt": b" \n\n",
            "1.json": b"{broken",
            "2.json": b'{"caption": "x", "label": "hat"}',
        },
    )
    records = open_source(f"webdataset:{tmp_path}/0.tar").records
    for index, message in enumerate([r"0.tar/0: no caption", r"0.tar/1.json: JSONDecodeError"]):
        with pytest.raises(CorruptRecord, match=message):
            records[index]
    # Every record would fail alike: not to be skipped as corrupt.
    with pytest.raises(ValueError, match=r"0.tar/2: label 'hat' .*classes.json") as caught:
        records[2]
    assert not isinstance(caught.value, CorruptRecord)
    os.truncate(tmp_path / "0.tar", 600)  # damaged after it was opened
    with pytest.raises(CorruptRecord, match="the shard ends within"):
        records[0]


@pytest.mark.parametrize("data", [b"", b"not a tar" * 100, b"\x1f\x8b" + bytes(600)])
def test_not_a_tar(tmp_path, data):
    (tmp_path / "0.tar").write_bytes(data)
    with pytest.raises(ValueError, match=r"0.tar is not an uncompressed tar"):
        open_source(f"webdataset:{tmp_path}/0.tar")


def test_array_record_keeps_records(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    deep = (np.arange(8, dtype=np.uint16) << 8).reshape(2, 4)
    first = Record("x/1", jpeg(), ("a", "裙子"), "concept", 3)
    write_array_record(tmp_path / "1.array_record", [first, Record("x/2", pixels, ("b",))])
    write_array_record(tmp_path / "2.array_record", [Record("", deep, ("c",))])
    source = open_source(f"array_record:{tmp_path}/*.array_record")
    records = list(pickle.loads(pickle.dumps(source.records)))
    assert records[0] == first
    np.testing.assert_array_equal(decode_image(records[1].image), pixels)
    np.testing.assert_array_equal(decode_image(records[2].image), decode_image(deep))
    assert records[2].id == f"array_record:{tmp_path}/*.array_record[2]"
    assert (records[2].captions, records[2].concept, records[2].label) == (("c",), "", -1)
    assert sorted(os.listdir(tmp_path)) == ["1.array_record", "2.array_record"]


def test_array_record_damage(tmp_path):
    path = tmp_path / "1.array_record"
    write_array_record(path, [Record(str(i), jpeg(i), ("x",)) for i in range(8)])
    whole = path.read_bytes()
    place = whole.index(jpeg(3)[200:240])
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    records = open_source(f"array_record:{path}").records
    assert records[2].id == "2"
    with pytest.raises(CorruptRecord, match=r"array_record\[3\]"):
        records[3]
    for damaged in (whole[: len(whole) // 2], b"text", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path} is not a whole ArrayRecord"):
            open_source(f"array_record:{path}")


def test_array_record_without_captions(tmp_path):
    path = tmp_path / "1.array_record"
    write_array_record(path, [Record("blank", jpeg(), ("  ",))])
    with pytest.raises(CorruptRecord, match="blank: no caption"):
        open_source(f"array_record:{path}").records[0]


def test_convert_copies_what_can_be_read(pictures, tmp_path):
    lines = [{"image": f"a/{i}.jpg", "caption": f"c{i}", "label": "hat"} for i in (0, 9, 2)]
    write_lines(pictures, *lines)
    path = tmp_path / "out" / "all.array_record"
    assert convert(f"folder:{pictures}", path) == (2, 1)
    before, after = open_source(f"folder:{pictures}"), open_source(f"array_record:{path}")
    assert list(after.records) == [before.records[0], before.records[2]]
    assert (after.classes, after.templates) == (before.classes, before.templates)
    write_lines(pictures, {"image": "a/0.jpg", "caption": "x", "label": "coat"})
    with pytest.raises(ValueError, match=r"classes.json holds other classes"):
        convert(f"folder:{pictures}", path.with_name("more.array_record"))


class TinyPairs(tfds.core.GeneratorBasedBuilder):
    """Captions and labels in train, labels alone in `labels`."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = tuple(  # noqa: RUF012
        tfds.core.BuilderConfig(name=name) for name in ("captions", "labels", "neither")
    )

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")}
        if self.builder_config.name == "captions":
            features["captions"] = tfds.features.Sequence(tfds.features.Text())
        if self.builder_config.name != "neither":
            features["label"] = tfds.features.ClassLabel(names=["sun_hat", "dress"])
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(4):
            example = {"image": jpeg(i), "label": i % 2, "captions": [f"c{i}", "裙子"] * (i < 3)}
            yield i, {key: example[key] for key in self.info.features}


@pytest.fixture(scope="module")
def tiny_pairs(tmp_path_factory):
    """Folder of each config's prepared version."""
    folder = tmp_path_factory.mktemp("tfds")
    paths = {}
    for name in ("captions", "labels", "neither"):
        builder = TinyPairs(data_dir=folder, config=name, file_format="array_record")
        builder.download_and_prepare()
        paths[name] = builder.data_dir
    return paths


def test_tfds_captions(tiny_pairs):
    source = open_source(f"tfds:{tiny_pairs['captions']}:train")
    assert source.classes == {"en": ("sun hat", "dress")}
    records = pickle.loads(pickle.dumps(source.records))
    images = [jpeg(i) for i in range(4)]
    for index in range(4):
        example = images.index(records.source[index]["image"])  # stored in hashed order
        if example == 3:
            with pytest.raises(CorruptRecord, match=r"tfds:.*\[\d\]: no caption"):
                records[index]
        else:
            assert records[index].captions == (f"c{example}", "裙子")
            assert records[index].label == example % 2
    assert len(open_source(f"tfds:{tiny_pairs['captions']}:train[:50%]").records) == 2


def test_tfds_labels_become_captions(tiny_pairs):
    records = list(open_source(f"tfds:{tiny_pairs['labels']}:train").records)
    captions = {record.label: (record.concept, record.captions) for record in records}
    assert captions == {
        0: ("sun hat", ("a photo of a sun hat",)),
        1: ("dress", ("a photo of a dress",)),
    }


def test_tfds_that_cannot_be_opened(tiny_pairs, tmp_path, monkeypatch):
    for rest, message in {
        f"{tiny_pairs['neither']}:train": "needs 'image' and one of",
        f"{tiny_pairs['labels']}:nope": "nope cannot be opened",
        "no_such_set:train": "tfds:no_such_set:train cannot be opened: DatasetNotFound",
        f"{tmp_path}:train": "cannot be opened",
        "cifar10": "expected tfds:name:split",
    }.items():
        with pytest.raises(ValueError, match=message):
            open_source(f"tfds:{rest}")


def test_workers_import_neither_jax_nor_tensorflow(tiny_pairs):
    code = (
        "import sys; from cogvit_jax.data import packing, sources, transforms, convert;"
        "assert 'tensorflow_datasets' not in sys.modules;"
        f"print(len(sources.open_source({f'tfds:{tiny_pairs['labels']}:train'!r}).records));"
        "assert not {'jax', 'tensorflow'} & set(sys.modules), sys.modules.keys()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "4"


def test_convert_command(pictures, tmp_path):
    write_lines(pictures, {"image": "a/0.jpg", "caption": "x"})
    to = tmp_path / "x.array_record"
    command = [sys.executable, "-m", "cogvit_jax.data.convert"]
    flags = [f"--from=folder:{pictures}", f"--to={to}"]
    result = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
    assert result.stdout == f"{to}: 1 records written, 0 skipped as corrupt\n"
