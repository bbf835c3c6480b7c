"""Local copies in every form: what is read, and what is refused."""

import base64
import json
import tarfile
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from cogvit_jax.data.array_records import write_array_record
from cogvit_jax.data.records import Record
from cogvit_jax.evals.suite import local, tasks
from cogvit_jax.evals.suite.tasks import SUITES
from tests.suite_copies import (
    array_bytes,
    labelled,
    picture,
    write_copy,
    write_tar,
)

ALL = {task.name: task for suite in SUITES.values() for task in suite}
MNIST = list("0123456789")


def opened(name: str, data_dir: Path):
    place = local.find(ALL[name], data_dir)
    assert place is not None
    return place.open()


@pytest.mark.parametrize("folder", ["wds_mnist_test", "wds_mnist", "mnist"])
def test_published_layout(tmp_path, folder):
    write_copy(tmp_path / folder, labelled([3, 0, 9]), MNIST, ['a "{c}".', "the {c}"])
    copy = opened("MNIST", tmp_path)
    # Shards are in order of their numbers: samples 0 and 2 are in the first.
    assert copy.labels.tolist() == [3, 9, 0]
    assert copy.classes == tuple(MNIST)
    assert copy.templates == ('a "{}".', "the {}")
    assert copy.pictures[1].image == picture(9 * 20)
    assert copy.groups is None


def test_shards_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 0):
        write_tar(tmp_path / f"mnist/{number}.tar", labelled([number % 10]))
    assert opened("MNIST", tmp_path).labels.tolist() == [0, 2, 0]
    assert opened("MNIST", tmp_path).pictures[2].id.endswith("10.tar/s0000000")


def test_short_lists_come_from_the_table_unless_there_is_a_file(tmp_path):
    folder = write_copy(tmp_path / "cifar10", labelled([1]))
    assert opened("CIFAR-10", tmp_path).classes[1] == "automobile"
    assert len(opened("CIFAR-10", tmp_path).templates) == 18
    own = {"classes": {"en": MNIST}, "templates": {"en": ["ours {}"]}}
    (folder / "classes.json").write_text(json.dumps(own))
    assert opened("CIFAR-10", tmp_path).classes == tuple(MNIST)
    assert opened("CIFAR-10", tmp_path).templates == ("ours {}",)


def test_a_class_without_a_word_keeps_its_line(tmp_path):
    names = ["very nearby", "nearby", "near", "", "distant", "very distant"]
    write_copy(tmp_path / "clevr_closest_object_distance", labelled([5]), names, ["{c} shapes."])
    copy = opened("CLEVR Distance", tmp_path)
    assert copy.classes == tuple(names)


def test_groups_come_from_npy_or_json(tmp_path):
    # The numbers of the groups are arbitrary; what counts is which pictures share one.
    rows = [array_bytes(7, 1), array_bytes(2, 1), array_bytes(7, 0)]
    write_copy(tmp_path / "wds_geode_test", labelled([0, 1, 2], npy=rows), [""] * 40, shards=1)
    assert opened("GeoDE", tmp_path).groups.tolist() == [0, 1, 0]
    texts = [json.dumps({"region": r}).encode() for r in ("Asia", "Asia", "Africa")]
    write_copy(tmp_path / "b/geode", labelled([0, 1, 2], json=texts), [""] * 40, shards=1)
    assert opened("GeoDE", tmp_path / "b").groups.tolist() == [0, 0, 1]


@pytest.mark.parametrize("broken", [b"", b"no array", array_bytes()])
def test_a_broken_group_is_named(tmp_path, broken):
    write_copy(tmp_path / "geode", labelled([0], npy=[broken]), [""] * 40, shards=1)
    with pytest.raises(ValueError, match=r"0\.tar/s0000000\.npy: .*'region' at 0"):
        opened("GeoDE", tmp_path)


def test_captions_of_a_picture_are_lines(tmp_path):
    samples = [{"jpg": picture(i), "txt": f"one {i}\n\ntwo {i}\n".encode()} for i in range(2)]
    write_copy(tmp_path / "wds_flickr30k", samples, shards=1)
    copy = opened("Flickr", tmp_path)
    assert copy.captions == ["one 0", "two 0", "one 1", "two 1"]
    assert copy.owners == [(0,), (0,), (1,), (1,)]


@pytest.mark.parametrize(
    ("label", "said"), [(b"10", "'10'"), (b"-1", "'-1'"), (b"cat", "'cat'"), (b"", "''")]
)
def test_a_label_out_of_range_is_named(tmp_path, label, said):
    samples = [*labelled([1]), {"png": picture(), "cls": label}]
    write_copy(tmp_path / "mnist", samples, MNIST, shards=1)
    message = rf"0\.tar/s0000001: label {said} is not among 0 … 9, the 10 classes"
    with pytest.raises(ValueError, match=message):
        opened("MNIST", tmp_path)


def test_missing_classes_file_says_what_to_add(tmp_path):
    write_copy(tmp_path / "wds_imagenet1k_test", labelled([5]))
    with pytest.raises(ValueError, match=r"holds none for ImageNet 1k: add classnames\.txt .*1000"):
        opened("ImageNet 1k", tmp_path)
    with pytest.raises(ValueError, match=r"holds none for ImageNet-CN: add label_cn\.txt"):
        opened("ImageNet-CN", tmp_path)


def test_classes_of_another_number_are_refused(tmp_path):
    write_copy(tmp_path / "wds_imagenet-a_test", labelled([5]), ["x"] * 1000)
    with pytest.raises(ValueError, match="1000 class names, but ImageNet-A has 200 classes"):
        opened("ImageNet-A", tmp_path)


@pytest.mark.parametrize("prompt", ["a photo", "{c} and {c}"])
def test_a_prompt_has_one_place_for_the_class(tmp_path, prompt):
    write_copy(tmp_path / "mnist", labelled([5]), MNIST, [prompt])
    with pytest.raises(ValueError, match=r"the prompt .* needs '\{c\}' once"):
        opened("MNIST", tmp_path)


@pytest.mark.parametrize("cut", [-5_000, -100, 0, 1])
def test_a_truncated_shard_is_refused(tmp_path, cut):
    """Cut before, in the header of, before, and behind the last member's data."""
    folder = write_copy(tmp_path / "mnist", labelled(list(range(10))))
    shard = folder / "test/1.tar"
    with tarfile.open(shard) as tar:
        last = tar.getmembers()[-1].offset_data
    shard.write_bytes(shard.read_bytes()[: last + cut])
    with pytest.raises(ValueError, match=r"test/1\.tar is not a whole, uncompressed tar file"):
        opened("MNIST", tmp_path)


def test_a_shard_that_is_no_tar_is_refused(tmp_path):
    folder = write_copy(tmp_path / "mnist", labelled([1]))
    (folder / "test/0.tar").write_bytes(b"<!DOCTYPE html>" * 100)
    with pytest.raises(ValueError, match=r"0\.tar is not a whole"):
        opened("MNIST", tmp_path)


def test_missing_shards_are_told(tmp_path):
    folder = write_copy(tmp_path / "mnist", labelled([1, 2]))
    (folder / "test/1.tar").unlink()
    with pytest.raises(ValueError, match=r"holds 1 shards, but nshards\.txt says 2"):
        opened("MNIST", tmp_path)


def test_a_sample_without_a_picture_is_named(tmp_path):
    write_copy(tmp_path / "mnist", [{"cls": b"1", "txt": b"x"}], shards=1)
    with pytest.raises(ValueError, match=r"s0000000 has cls, txt; expected one of webp, png"):
        opened("MNIST", tmp_path)


def test_array_record_copies(tmp_path):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    records = [Record(str(i), picture(i), (f"c {i}",), label=i) for i in (4, 1)]
    write_array_record(folder / "test.array_record", records)
    assert opened("CIFAR-10", tmp_path).labels.tolist() == [4, 1]
    folder.rename(tmp_path / "flickr30k")
    assert opened("Flickr", tmp_path).captions == ["c 4", "c 1"]
    (tmp_path / "flickr30k").rename(tmp_path / "geode")
    with pytest.raises(ValueError, match="GeoDE needs the group of each picture"):
        opened("GeoDE", tmp_path)


def test_array_record_label_out_of_range(tmp_path):
    (tmp_path / "mnist").mkdir()
    records = [Record("a/7", picture(), ("x",), label=12)]
    write_array_record(tmp_path / "mnist/test.array_record", records)
    with pytest.raises(ValueError, match="a/7: label 12 is outside 0 … 9"):
        opened("MNIST", tmp_path)


class Cifar100(tfds.core.GeneratorBasedBuilder):
    """A picture of class 7, with names as they are."""

    __module__ = "tiny"  # see data/test_tfds_source.py
    VERSION = tfds.core.Version("1.0.0")
    names = tuple(f"thing_{i}" for i in range(100))

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=self.names),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"image": picture(), "label": 7}


class ImagenetV2(Cifar100):
    """Its names are WordNet's numbers."""

    __module__ = "tiny"
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="matched-frequency"),)
    names = tuple(f"n{i:08d}" for i in range(1000))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two sets as TensorFlow Datasets prepares them."""
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (Cifar100, ImagenetV2):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_tfds_copies_bring_names_that_say_something(prepared):
    copy = opened("CIFAR-100", prepared)
    assert copy.classes[7] == "thing 7"
    assert copy.labels.tolist() == [7]
    with pytest.raises(ValueError, match=r"1\.0\.0 has no class names"):
        opened("ImageNet v2", prepared)


def chinese_clip(folder: Path, split: str, texts: list[dict]) -> None:
    folder.mkdir(exist_ok=True)
    lines = [f"{i}\t{base64.urlsafe_b64encode(picture(i)).decode()}" for i in (11, 5, 8)]
    lines = [line.replace("-", "+").replace("_", "/") for line in lines]
    (folder / f"{split}_imgs.tsv").write_text("\n".join(lines) + "\n")
    text = "\n".join(json.dumps(t, ensure_ascii=False) for t in texts)
    (folder / f"{split}_texts.jsonl").write_text(text, "utf-8")


def test_chinese_clip_layout(tmp_path):
    # A line separator that str.splitlines would break the JSON at.
    texts = [{"text_id": 1, "text": "高级感\u2028托特包", "image_ids": [8, 11]}]
    chinese_clip(tmp_path / "MUGE", "test", [{"text_id": 2, "text": "x", "image_ids": []}])
    chinese_clip(tmp_path / "MUGE", "valid", texts)
    copy = opened("MUGE", tmp_path)
    assert copy.captions == ["高级感\u2028托特包"]
    assert copy.owners == [(2, 0)]
    assert [copy.pictures[i].image for i in range(3)] == [picture(i) for i in (11, 5, 8)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([{"text": "x", "image_ids": [9]}], r"test_texts\.jsonl names picture '9'"),
        ([{"text": "x"}], r"test_texts\.jsonl: line 1: KeyError\('image_ids'\)"),
        ([{"text": "x", "image_ids": []}], "COCO-CN needs test_imgs"),
    ],
)
def test_chinese_clip_errors(tmp_path, texts, message):
    chinese_clip(tmp_path / "COCO-CN", "test", texts)
    with pytest.raises(ValueError, match=message):
        opened("COCO-CN", tmp_path)


def test_chinese_class_names_of_both_publishers(tmp_path):
    names = [f"类{i}" for i in range(1000)]
    folder = write_copy(tmp_path / "wds_imagenet1k", labelled([5]), ["x"] * 1000)
    (folder / "cn_classnames.json").write_text(json.dumps({"imagenet1k": names}), "utf-8")
    assert opened("ImageNet-CN", tmp_path).classes == tuple(names)
    assert "{}的照片。" in opened("ImageNet-CN", tmp_path).templates
    assert opened("ImageNet 1k", tmp_path).classes[0] == "x"
    (folder / "label_cn.txt").write_text("\n".join(names[::-1]), "utf-8")
    prompts = {"imagenet1k": ["{c}的涂鸦。"]}
    (folder / "cn_zeroshot_classification_templates.json").write_text(json.dumps(prompts))
    assert opened("ImageNet-CN", tmp_path).classes == tuple(names[::-1])
    assert opened("ImageNet-CN", tmp_path).templates == ("{}的涂鸦。",)


def test_xm3600_takes_the_first_caption(tmp_path):
    folder = tmp_path / "xm3600"
    (folder / "images").mkdir(parents=True)
    lines = []
    for i in range(2):
        (folder / f"images/k{i}.jpg").write_bytes(picture(i))
        lines.append({"image/key": f"k{i}", "zh": {"caption": [f"一 {i}", f"二 {i}"]}})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    copy = opened("XM3600 zh", tmp_path)
    assert copy.captions == ["一 0", "一 1"]
    assert copy.pictures[1].image == picture(1)
    (folder / "images/k0.jpg").unlink()
    with pytest.raises(ValueError, match=r"k0\.jpg is missing, which .*captions\.jsonl names"):
        opened("XM3600 zh", tmp_path)


def winogavil(folder: Path, rows: list[tuple[str, list[str], list[str]]]) -> None:
    (folder / "winogavil_images").mkdir(parents=True)
    for name in {name for _, shown, _ in rows for name in shown}:
        (folder / f"winogavil_images/{name}.jpg").write_bytes(picture(len(name)))
    quote = lambda names: '"' + json.dumps(names).replace('"', '""') + '"'  # noqa: E731
    lines = [f"{i},{cue},{quote(s)},{quote(r)}" for i, (cue, s, r) in enumerate(rows)]
    text = "\n".join(["ID,cue,candidates,associations", *lines])
    (folder / "winogavil_dataset.csv").write_text(text)


def test_winogavil(tmp_path):
    rows = [("Owl", ["night", "bird", "car"], ["bird", "night"]), ("moon", ["car", "sky"], ["sky"])]
    winogavil(tmp_path / "winogavil", rows)
    copy = opened("WinoGAViL", tmp_path)
    assert copy.cues == ["An owl", "A moon"]
    assert len(copy.pictures) == 4
    assert [c.tolist() for c in copy.candidates] == [[0, 1, 2], [2, 3]]
    assert [f.tolist() for f in copy.fits] == [[True, True, False], [False, True]]


def test_winogavil_without_an_association_is_named(tmp_path):
    winogavil(tmp_path / "winogavil", [("owl", ["night"], ["night"]), ("x", ["night"], ["day"])])
    with pytest.raises(ValueError, match=r"winogavil_dataset\.csv: line 3 has no cue, or no"):
        opened("WinoGAViL", tmp_path)


def test_a_task_without_data_names_where_it_was_looked_for(tmp_path):
    (tmp_path / "mnist").mkdir()
    assert local.find(ALL["MNIST"], tmp_path) is None
    told = local.looked_for(tasks.choose("clip38", "mnist")[0], tmp_path)
    assert f"{tmp_path}/wds_mnist_test, {tmp_path}/wds_mnist, {tmp_path}/mnist" in told
