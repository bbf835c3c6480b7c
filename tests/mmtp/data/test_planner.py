"""Plans respect both capacities, balance groups and leave out little."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtp.data.planner import Place, Room, Size, Stretch, cost, fits_alone, plan, share


@st.composite
def problems(draw):
    """((tokens, patches of each picture / 4) of documents, room)."""
    room = Room(
        groups=draw(st.integers(1, 5)),
        rows=draw(st.integers(1, 4)),
        row_length=draw(st.integers(4, 40)),
        vision_rows=draw(st.integers(1, 3)),
        vision_row_length=4 * draw(st.integers(1, 10)),
        vision_cost=draw(st.sampled_from([0.0, 0.5, 2.0])),
        padded=draw(st.booleans()),
    )
    pictures = st.lists(st.integers(1, room.vision_row_length // 4), max_size=3)
    documents = st.tuples(st.integers(1, room.row_length), pictures)
    return draw(st.lists(documents, max_size=25)), room


def usable(problem):
    """(sizes of documents that fit an empty group, room)."""
    documents, room = problem
    sizes = [Size(tokens, tuple(4 * n for n in pictures)) for tokens, pictures in documents]
    return [s for s in sizes if fits_alone(s, room)], room


def stretches(sizes, places):
    """(kind, group, stretch, length) of all that is placed."""
    for size, place in zip(sizes, places, strict=True):
        if place:
            yield "text", place.group, place.text, size.tokens
            for picture, patches in zip(place.pictures, size.pictures, strict=True):
                yield "vision", place.group, picture, patches


def by_row(sizes, places):
    rows = {}
    for kind, group, stretch, length in stretches(sizes, places):
        rows.setdefault((kind, group, stretch.row), []).append((stretch, length))
    return rows


@settings(max_examples=200)
@given(problems())
def test_stretches_fill_rows_without_gaps_and_never_overflow(problem):
    sizes, room = usable(problem)
    places = plan(sizes, room)
    assert len(places) == len(sizes)
    for (kind, group, row), members in by_row(sizes, places).items():
        num, length = {
            "text": (room.rows, room.row_length),
            "vision": (room.vision_rows, room.vision_row_length),
        }[kind]
        assert 0 <= group < room.groups
        assert 0 <= row < num
        end = 0
        for number, (stretch, size) in enumerate(sorted(members, key=lambda m: m[0].segment), 1):
            assert (stretch.segment, stretch.start) == (number, end)
            end += size
        assert end <= length
        assert not room.padded or len(members) == 1


@settings(max_examples=200)
@given(problems())
def test_what_is_left_out_fits_nowhere(problem):
    sizes, room = usable(problem)
    places = plan(sizes, room)
    loads = {key: sum(n for _, n in members) for key, members in by_row(sizes, places).items()}
    for size in (s for s, p in zip(sizes, places, strict=True) if p is None):
        for group in range(room.groups):
            assert not fits_by_first_fit(size, group, loads, room)


def fits_by_first_fit(size, group, loads, room):
    """Whether a group with these loads has room, by the planner's own rule for pictures."""

    def free(kind, num, length):
        used = [loads.get((kind, group, row), 0) for row in range(num)]
        return [0 if room.padded and u else length - u for u in used]

    text = max(free("text", room.rows, room.row_length)) >= size.tokens
    left = free("vision", room.vision_rows, room.vision_row_length)
    for patches in sorted(size.pictures, reverse=True):
        row = next((i for i, n in enumerate(left) if n >= patches), None)
        if row is None:
            return False
        left[row] = 0 if room.padded else left[row] - patches
    return text


@settings(max_examples=200)
@given(problems())
def test_loads_differ_by_at_most_one_document_where_room_is_plenty(problem):
    sizes, room = usable(problem)
    rows = 3 * len(sizes) + 1
    plenty = Room(room.groups, rows, room.row_length, rows, 40, room.vision_cost)
    places = plan(sizes, plenty)
    loads = np.zeros(room.groups)
    for size, place in zip(sizes, places, strict=True):
        assert place is not None
        loads[place.group] += cost(size, room)
    assert loads.max() - loads.min() <= max((cost(s, room) for s in sizes), default=0) + 1e-9


@settings(max_examples=200)
@given(problems())
def test_a_text_is_left_out_only_where_all_rows_are_more_than_half_full(problem):
    sizes, room = usable(problem)
    room = Room(room.groups, room.rows, room.row_length, 1, 4)
    sizes = [Size(s.tokens) for s in sizes]
    places = plan(sizes, room)
    if None in places:
        loads = [
            sum(s.tokens for s, p in zip(sizes, places, strict=True) if at(p) == (g, r))
            for g in range(room.groups)
            for r in range(room.rows)
        ]
        assert 2 * min(loads) > room.row_length


def at(place):
    return place and (place.group, place.text.row)


def best(sizes, room):
    """The most that can be kept, in summed shares, by trying all ways (one row of each kind)."""
    most = 0.0
    for groups in itertools.product(range(-1, room.groups), repeat=len(sizes)):
        kept = [(g, s) for g, s in zip(groups, sizes, strict=True) if g >= 0]
        tokens = np.bincount([g for g, _ in kept], [s.tokens for _, s in kept], room.groups)
        patches = np.bincount([g for g, _ in kept], [s.patches for _, s in kept], room.groups)
        if max(tokens) <= room.row_length and max(patches) <= room.vision_row_length:
            most = max(most, sum(share(s, room) for _, s in kept))
    return most


@pytest.mark.parametrize(("pictures", "bound", "mean"), [(False, 1 / 2, 0.95), (True, 1 / 4, 0.9)])
def test_keeps_nearly_as_much_as_the_best_of_all_plans(pictures, bound, mean):
    # Every group that turns a document away holds one no smaller, and more than 1 - share of a
    # capacity: so a share of 1/2, where no plan can have more than 1 of text, or 2 of text and
    # pictures together. The means are measured: 0.966 and 0.939.
    ratios = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        room = Room(2, 1, 20, 1, 40)
        sizes = [
            Size(int(rng.integers(1, 16)), (4 * int(rng.integers(1, 9)),) if pictures else ())
            for _ in range(6)
        ]
        kept = sum(share(s, room) for s, p in zip(sizes, plan(sizes, room), strict=True) if p)
        ratios.append(kept / best(sizes, room))
    assert min(ratios) >= bound
    assert max(ratios) <= 1 + 1e-9
    assert np.mean(ratios) >= mean


def test_groups_are_chosen_by_cost_of_both_kinds():
    sizes = [Size(10, (16,)), Size(12), Size(4), Size(4)]
    room = Room(2, 2, 16, 1, 16, vision_cost=1.0)
    assert [p.group for p in plan(sizes, room) if p] == [0, 1, 1, 1]
    cheap = Room(2, 2, 16, 1, 16, vision_cost=0.0)
    assert [p.group for p in plan(sizes, cheap) if p] == [0, 1, 0, 1]


def test_documented_example():
    places = plan([Size(3, (4,)), Size(5), Size(4)], Room(1, 1, 8, 1, 4))
    assert places == (
        Place(0, Stretch(0, 0, 1), (Stretch(0, 0, 1),)),
        Place(0, Stretch(0, 3, 2), ()),
        None,
    )
