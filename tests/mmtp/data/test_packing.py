"""Batches equal a token-by-token oracle that knows documents only; nothing leaks between them."""

import dataclasses
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cogvit_jax.data.records import CorruptRecord
from mmtp.data import layout as layouts
from mmtp.data.encoded import block_positions
from mmtp.data.packing import Collate, check_fits, collate
from mmtp.data.positions import rope_positions
from tests.mmtp.random_documents import (
    IMAGE,
    PATCH_DIM,
    make_document,
    make_layout,
    random_documents,
)

ROOT = Path(__file__).parents[3]
MANY = 10**9  # ids so many that no two tokens of text are equal


def arrays_of(documents, layout):
    return collate(documents, layout)["arrays"]


def found_documents(batch, documents):
    """(group, row, places, document) of every document of a batch, known by its tokens."""
    by_tokens = {d.tokens.tobytes(): d for d in documents}
    for group, rows in enumerate(batch["segments"]):
        for row, segments in enumerate(rows):
            for segment in range(1, segments.max() + 1):
                (places,) = np.nonzero(segments == segment)
                assert (np.diff(places) == 1).all()
                tokens = batch["tokens"][group, row, places]
                yield group, row, places, by_tokens[tokens.tobytes()]


def oracle(batch, documents, depth):
    """All shifted arrays, one token and depth at a time, from where the documents are."""
    shape = batch["tokens"].shape
    expected = {
        "labels": np.zeros((*shape, 1 + depth), np.int32),
        "weights": np.zeros((*shape, 1 + depth), np.float32),
        "mtp_tokens": np.zeros((*shape, depth), np.int32),
        "mtp_valid": np.zeros((*shape, depth), bool),
        "mtp_sources": np.zeros((*shape, depth), np.int32),
        "mtp_positions": np.zeros((*shape, depth, 3), np.int32),
        "path": np.zeros((*shape, depth), bool),
        "positions": np.zeros((*shape, 3), np.int32),
        "category": np.zeros(shape, np.int32),
    }
    for group, row, places, document in found_documents(batch, documents):
        positions, _ = rope_positions(len(places), document.visuals)
        num = len(places)
        for i, place in enumerate(places):
            at = (group, row, place)
            expected["positions"][at] = positions[i]
            expected["category"][at] = document.category
            for head in range(1 + depth):
                target = i + head + 1
                if target < num and document.supervised[target]:
                    expected["labels"][at][head] = document.tokens[target]
                    expected["weights"][at][head] = 1
            for k in range(1, depth + 1):
                if i + k < num:
                    expected["mtp_tokens"][at][k - 1] = document.tokens[i + k]
                    expected["mtp_valid"][at][k - 1] = True
                    expected["mtp_sources"][at][k - 1] = place + k
                    expected["mtp_positions"][at][k - 1] = positions[i + k]
                    between = document.tokens[i + 1 : i + k + 1]
                    expected["path"][at][k - 1] = IMAGE not in between.tolist()
    return {
        name: x if name in ("positions", "category") else np.moveaxis(x, 2, 3)
        for name, x in expected.items()
    }


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_arrays_equal_the_oracle(seed, depth):
    documents = random_documents(
        seed, 16, vocabulary=MANY, assistant=seed % 2 == 1, video=seed % 3 == 0
    )
    batch = arrays_of(documents, make_layout(2, depth))
    for name, expected in oracle(batch, documents, depth).items():
        assert batch[name].dtype == expected.dtype
        np.testing.assert_array_equal(batch[name], expected, err_msg=name)
    order = np.broadcast_to(np.arange(32), batch["order"].shape)
    np.testing.assert_array_equal(batch["order"], order)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("seed", range(6))
def test_every_supervised_token_is_a_label_of_the_main_head_once(seed, layout):
    documents = random_documents(seed, 12, vocabulary=MANY, assistant=True)
    many = {"documents": 12, "rows": 16, "vision_rows": 48, "layout": layout}
    result = collate(documents, make_layout(1, **many))
    assert result["stats"]["data/dropped_documents"] == 0
    batch = result["arrays"]
    labels = batch["labels"][:, :, 0][batch["weights"][:, :, 0] > 0]
    expected = np.concatenate([d.tokens[1:][d.supervised[1:]] for d in documents])
    np.testing.assert_array_equal(np.sort(labels), np.sort(expected))


@pytest.mark.parametrize("seed", range(6))
def test_visual_tokens_lead_to_their_own_pixels(seed):
    documents = random_documents(seed, 16, vocabulary=MANY)
    batch = arrays_of(documents, make_layout(2))
    image = {k: x.reshape(2, -1, 4, *x.shape[3:]) for k, x in batch["image"].items()}
    seen = np.zeros(image["segments"].shape[:2], int)
    for group, row, places, document in found_documents(batch, documents):
        visual = batch["visual"][group, row, places]
        np.testing.assert_array_equal(visual > 0, document.tokens == IMAGE)
        for picture in document.visuals:
            mine = visual[picture.start : picture.start + picture.num_tokens] - 1
            patches = image["patches"][group, mine].reshape(-1, PATCH_DIM)
            np.testing.assert_array_equal(patches, picture.patches)
            positions = image["positions"][group, mine].reshape(-1, 2)
            np.testing.assert_array_equal(positions, block_positions(picture.grid))
            # One picture of one row: its own segment.
            assert len(set((mine * 4 // 32).tolist())) == 1
            assert len(np.unique(image["segments"][group, mine])) == 1
            assert image["segments"][group, mine].min() > 0
            seen[group, mine] += 1
    # Each block belongs to one token; the rest is padding.
    assert seen.max() == 1
    np.testing.assert_array_equal(seen[..., None] * np.ones(4), image["segments"] > 0)
    assert not image["patches"][image["segments"] == 0].any()


@pytest.mark.parametrize("seed", range(6))
def test_packed_and_padded_batches_have_the_same_content(seed):
    documents = random_documents(seed, 16, vocabulary=MANY, assistant=True)
    wide = {"rows": 16, "vision_rows": 48}
    contents = []
    for layout in ("packed", "padded"):
        batch = arrays_of(documents, make_layout(1, layout=layout, **wide))
        if layout == "padded":
            assert batch["segments"].max() == batch["image"]["segments"].max() == 1
        contents.append(
            {d.id: cut(batch, g, r, p) for g, r, p, d in found_documents(batch, documents)}
        )
    packed, padded = contents
    assert packed.keys() == padded.keys() == {d.id for d in documents}
    for id in packed:
        for name, value in packed[id].items():
            np.testing.assert_array_equal(value, padded[id][name], err_msg=name)


def cut(batch, group, row, places):
    """What a batch holds of one document, without where it holds it."""
    names = ("labels", "weights", "mtp_tokens", "mtp_valid", "mtp_positions", "path")
    whole = ("tokens", "positions", "category")
    found = {name: batch[name][group, row][:, places] for name in names}
    found |= {name: batch[name][group, row, places] for name in whole}
    valid = batch["mtp_valid"][group, row][:, places]
    found["sources"] = np.where(valid, batch["mtp_sources"][group, row][:, places] - places[0], 0)
    patches = batch["image"]["patches"][group].reshape(-1, 4, PATCH_DIM)
    visual = batch["visual"][group, row, places]
    return found | {"pixels": patches[visual[visual > 0] - 1]}


def test_depth_two_does_not_see_over_the_end_of_a_document():
    # Segments 1112222 0: shifting twice by one with a mask against neighbours only, the third token
    # is given the second of the next document as input and as target.
    rng = np.random.default_rng(0)
    documents = [make_document(rng, [n], vocabulary=MANY, id=str(n)) for n in (4, 3)]
    small = {"documents": 2, "seq_len": 8, "rows": 1, "vision_rows": 1}
    batch = arrays_of(documents, make_layout(depth=2, **small))
    assert batch["segments"][0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 0]
    first = documents[0].tokens.tolist()
    assert batch["labels"][0, 0].tolist()[2][:4] == [first[3], 0, 0, 0]
    assert batch["weights"][0, 0].tolist() == [
        [1, 1, 1, 0, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert batch["mtp_valid"][0, 0].tolist() == [
        [True, True, True, False, True, True, False, False],
        [True, True, False, False, True, False, False, False],
    ]


def test_image_tokens_are_never_labels_and_fill_has_no_weight():
    rng = np.random.default_rng(1)
    document = make_document(rng, [2, (4, 4), 1, (2, 2), 3])
    document = dataclasses.replace(document, supervised=np.ones(len(document.tokens), bool))
    batch = arrays_of([document], make_layout(depth=3, documents=1))
    weighted = batch["weights"] > 0
    assert weighted.any(axis=(0, 1, 3)).all()
    assert IMAGE not in batch["labels"][weighted].tolist()
    assert not batch["labels"][~weighted].any()
    assert not weighted[:, :, 0][batch["segments"] == 0].any()
    for name in ("tokens", "positions", "visual", "category"):
        assert not batch[name][batch["segments"] == 0].any()


def test_path_is_text_only():
    rng = np.random.default_rng(0)
    document = make_document(rng, [3, (2, 2), 3])  # ttt i ttt
    batch = arrays_of([document], make_layout(depth=2, documents=1))
    assert batch["path"][0, 0, :, :8].tolist() == [
        [True, True, False, True, True, True, False, False],
        [True, False, False, True, True, False, False, False],
    ]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([33], "document 33 has 33 tokens, more than config.data.seq_len = 32"),
        ([1, (6, 6)], "picture of 36 patches, more than config.data.vision_row_length = 32"),
        ([1, (4, 6), (4, 6), (4, 6)], "hold.*raise config.data.vision_rows"),
        ([], "document  has no tokens"),
    ],
)
def test_documents_that_fit_nowhere_are_refused(parts, message):
    id = "".join(str(p) for p in parts[:1])
    document = make_document(np.random.default_rng(0), parts, id=id)
    layout = make_layout(4)
    with pytest.raises(CorruptRecord, match=message):
        check_fits(document, layout)
    with pytest.raises(CorruptRecord, match=message):
        collate([document] * 16, layout)


def test_placeholders_must_be_as_many_as_features():
    document = make_document(np.random.default_rng(0), [2, (4, 4), 3], id="seven")
    layout = make_layout()
    check_fits(document, layout)
    tokens = document.tokens.copy()
    tokens[0] = IMAGE
    with pytest.raises(CorruptRecord, match=r"seven has 5 placeholders .* have 4 features"):
        check_fits(dataclasses.replace(document, tokens=tokens), layout)
    moved = dataclasses.replace(document.visuals[0], start=1)
    with pytest.raises(CorruptRecord, match=r"seven: picture 0 .* 3 of its 4 placeholders"):
        check_fits(dataclasses.replace(document, visuals=(moved,)), layout)
    cut = dataclasses.replace(document.visuals[0], patches=document.visuals[0].patches[:12])
    with pytest.raises(CorruptRecord, match="has 12 patches"):
        check_fits(dataclasses.replace(document, visuals=(cut,)), layout)
    text = make_document(np.random.default_rng(0), [3], id="text")
    spelt = dataclasses.replace(text, tokens=np.asarray([9, IMAGE, 9], np.int32))
    with pytest.raises(CorruptRecord, match=r"text has 1 placeholders .* have 0 features"):
        check_fits(spelt, layout)
    wide = dataclasses.replace(document.visuals[0], patches=np.zeros((16, 5), np.uint8))
    with pytest.raises(ValueError, match=r"patches of 5 numbers.*patch_dim = 3"):
        check_fits(dataclasses.replace(document, visuals=(wide,)), layout)


def test_overlapping_pictures_are_refused():
    document = make_document(np.random.default_rng(0), [1, (4, 4), (4, 4)], id="two")
    twice = (document.visuals[0], document.visuals[0])
    with pytest.raises(CorruptRecord, match=r"two: picture 1 .* the one before it ends at 5"):
        check_fits(dataclasses.replace(document, visuals=twice), make_layout())


def test_what_has_no_room_is_dropped_and_counted():
    documents = [make_document(np.random.default_rng(n), [20, (4, 4)]) for n in range(16)]
    result = collate(documents, make_layout(2, rows=4, vision_rows=2))
    assert result["stats"] == {
        "data/dropped_documents": 12.0,
        "data/dropped_tokens": 0.75,
        "data/fill_text": 24 / 32,
        "data/fill_vision": 1.0,
        "data/imbalance_text": 0.0,
        "data/imbalance_vision": 0.0,
        "data/imbalance_cost": 0.0,
    }


def test_imbalance_is_of_the_group_with_most():
    parts = [[12], [4], [4], [3, (2, 2)]]  # the last costs 4 tokens and 4 patches
    documents = [make_document(np.random.default_rng(n), p) for n, p in enumerate(parts)]
    fields = {"documents": 4, "rows": 3, "vision_rows": 3, "vision_cost": 0.5}
    stats = collate(documents, make_layout(3, **fields))["stats"]
    # Groups of 12, 4 + 4 and 4 tokens; 0, 0 and 4 patches.
    assert stats["data/imbalance_text"] == pytest.approx(12 / 8 - 1)
    assert stats["data/imbalance_vision"] == pytest.approx(4 / (4 / 3) - 1)
    assert stats["data/imbalance_cost"] == pytest.approx(12 / (26 / 3) - 1)
    text = collate(documents[:3] + documents[:1], make_layout(3, **fields))["stats"]
    assert text["data/imbalance_vision"] == text["data/fill_vision"] == 0


def test_hosts_make_together_what_one_host_makes():
    documents = random_documents(5, 16)
    fields = {"groups": 4, "planned_groups": 2}
    whole = layouts.flatten(arrays_of(documents, make_layout(1, **fields)))
    layout = [make_layout(2, num_hosts=2, host=h, **fields) for h in range(2)]
    halves = [arrays_of(documents[x.host_offset : x.host_offset + x.host_batch], x) for x in layout]
    for name, value in whole.items():
        parts = [layouts.flatten(half)[name] for half in halves]
        np.testing.assert_array_equal(value, np.concatenate(parts), err_msg=name)


def test_loader_workers_get_the_same_batch_without_jax():
    # Another process, with other hashes of strings.
    code = (
        "import sys, pickle, hashlib\n"
        "from tests.mmtp.data.test_packing import digest\n"
        "loaded = 'jax' in sys.modules\n"
        "print(digest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest()
    code = "import sys, mmtp.data.packing, mmtp.data.dispatch; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def digest():
    """Of a batch and its figures, made by a collate that was pickled."""
    make = pickle.loads(pickle.dumps(Collate(make_layout(2, 3, context=2))))
    result = make([{"document": d} for d in random_documents(11, 16)])
    content = [repr(sorted(result["stats"].items())).encode()]
    for name, value in sorted(layouts.flatten(result["arrays"]).items()):
        content += [name.encode(), value.tobytes()]
    return hashlib.sha256(b"".join(content)).hexdigest()
