"""What ranks are sent makes up exactly their parts of the batch that one device would have made."""

import numpy as np
import pytest

from mmtp.data.dispatch import (
    STREAMS,
    Transfer,
    assemble,
    bytes_sent,
    plan_dispatch,
    source_buffers,
)
from mmtp.data.layout import ARRAYS, flatten
from mmtp.data.packing import collate, place_all, size_of
from mmtp.data.planner import Place, Size, Stretch
from mmtp.data.reorder import part
from tests.mmtp.random_documents import make_layout, random_documents

MESHES = (  # batch shards, context ranks
    (1, 1),
    (2, 1),
    (1, 2),
    (4, 1),
    (2, 2),
    (1, 4),
    (8, 1),
    (4, 2),
    (2, 4),
    (1, 8),
)


def make_problem(shards, context, seed, depth=2):
    """(layout, documents, places, the rank that has each, transfers)."""
    layout = make_layout(
        shards, depth, context=context, groups=8, seq_len=64, rows=8, vision_row_length=64
    )
    documents = random_documents(seed, 16, longest=48)
    sizes = [size_of(d) for d in documents]
    places = place_all(sizes, layout)
    sources = np.random.default_rng(seed).integers(shards * context, size=16).tolist()
    transfers = plan_dispatch(sizes, places, sources, layout, shards)
    return layout, documents, places, sources, transfers


def buffers_of(layout, documents, places, sources, ranks):
    mine = {r: [i for i, s in enumerate(sources) if s == r] for r in range(ranks)}
    return {
        r: source_buffers([documents[i] for i in some], [places[i] for i in some], layout)
        for r, some in mine.items()
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shards", "context"), MESHES)
def test_ranks_get_their_parts_of_the_whole_batch(shards, context, seed):
    layout, documents, places, sources, transfers = make_problem(shards, context, seed)
    whole = collate(documents, layout)["arrays"]
    buffers = buffers_of(layout, documents, places, sources, shards * context)
    for rank in range(shards * context):
        found = flatten(assemble(transfers, buffers, rank, layout, shards))
        expected = flatten(part(whole, shards, context, rank))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shards", "context"), MESHES)
def test_ranks_receive_what_they_need_and_nothing_twice(shards, context, seed):
    layout, documents, _, _, transfers = make_problem(shards, context, seed)
    whole = collate(documents, layout)["arrays"]
    total = bytes_sent(transfers, layout, shards * context)
    for rank in range(shards * context):
        mine = part(whole, shards, context, rank)
        needed = 0
        for name, value in flatten(mine).items():
            segments = mine["image"] if name.startswith("image/") else mine
            share = (segments["segments"] > 0).mean()  # each place has equal bytes
            needed += 0 if name == "order" else value.nbytes * share
        assert total[:, rank].sum() == pytest.approx(needed, rel=1e-9)


@pytest.mark.parametrize(("shards", "context"), [(4, 2), (1, 8)])
def test_all_of_the_buffers_is_sent_once(shards, context):
    layout, documents, places, sources, transfers = make_problem(shards, context, 7)
    buffers = buffers_of(layout, documents, places, sources, shards * context)
    for rank, mine in buffers.items():
        for stream, names in STREAMS.items():
            sent = np.zeros(len(mine[names[0]]), int)
            for t in transfers:
                if (t.source, t.stream) == (rank, stream):
                    sent[t.start : t.stop] += 1
            np.testing.assert_array_equal(sent, 1)


def test_documents_that_are_where_they_belong_do_not_travel():
    layout, documents, places, _, _ = make_problem(4, 1, 0)
    home = [place.group // 2 if place else 0 for place in places]
    transfers = plan_dispatch([size_of(d) for d in documents], places, home, layout, 4)
    total = bytes_sent(transfers, layout, 4)
    assert total.sum() == np.trace(total) > 0


def test_streams_hold_all_arrays_but_order():
    assert sorted([*STREAMS["text"], *STREAMS["image"], "order"]) == sorted(ARRAYS)


def test_a_row_goes_to_its_ranks_in_as_few_pieces_as_can_be():
    # Of 64 tokens on 4 ranks, chunks 3 and 4 (places 24 to 40) are next to each other on rank 3.
    layout = make_layout(2, context=4, seq_len=64, rows=4, vision_row_length=32)
    place = Place(1, Stretch(row=1, start=0, segment=1), (Stretch(row=2, start=12, segment=2),))
    sizes = [Size(5), Size(64, (16,))]
    transfers = plan_dispatch(sizes, [None, place], [2, 3], layout, num_shards=2)
    row = 16  # tokens of row 1 begin here in the part of a rank, which has 16 of each row
    assert transfers == [
        Transfer(3, 4, "text", 0, 8, row),
        Transfer(3, 5, "text", 8, 16, row),
        Transfer(3, 6, "text", 16, 24, row),
        Transfer(3, 7, "text", 24, 40, row),
        Transfer(3, 6, "text", 40, 48, row + 8),
        Transfer(3, 5, "text", 48, 56, row + 8),
        Transfer(3, 4, "text", 56, 64, row + 8),
        # Ranks have 8 patches of each vision row.
        Transfer(3, 5, "image", 0, 4, 2 * 8 + 4),
        Transfer(3, 6, "image", 4, 12, 2 * 8),
        Transfer(3, 7, "image", 12, 16, 2 * 8),
    ]
