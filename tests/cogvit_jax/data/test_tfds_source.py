"""TFDS data sets prepared as ArrayRecord, read without TensorFlow."""

import pickle
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.data.sources import open_source


class TinyPairs(tfds.core.GeneratorBasedBuilder):
    """One config per combination of features."""

    # For a class inside a package tfds imports importlib_resources, which it does not
    # declare; datasets are read without it.
    __module__ = "tiny_pairs"
    images = ()
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = tuple(
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
        for i, image in enumerate(self.images):
            example = {"image": image, "label": i % 2, "captions": [f"c{i}", "裙子"] * (i < 3)}
            yield i, {key: example[key] for key in self.info.features}


@pytest.fixture(scope="module")
def tiny_pairs(tmp_path_factory, jpeg):
    """Folder of each config's prepared version."""
    TinyPairs.images = [jpeg(i) for i in range(4)]
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
    for index in range(4):
        example = TinyPairs.images.index(records.source[index]["image"])  # stored in hashed order
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


def test_tfds_that_cannot_be_opened(tiny_pairs, tmp_path):
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
    spec = f"tfds:{tiny_pairs['labels']}:train"
    code = (
        "import sys; from cogvit_jax.data import packing, sources, transforms, convert;"
        "assert 'tensorflow_datasets' not in sys.modules;"
        f"print(len(sources.open_source({spec!r}).records));"
        "assert not {'jax', 'tensorflow'} & set(sys.modules), sys.modules.keys()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "4"
