"""Fields and cited answers: by hand, and what ANLS alone would let through."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.fields import cited, field_f1, similarity, words

FIELDS = {"shop": "Night Market", "date": "2024-05-03", "items": {"tea": 3.5}, "total": 3.5}


@pytest.mark.parametrize(
    ("said", "gold", "value"),
    [
        ("Night Market", "night  market.", 1),
        ("Night Markt", "night market", 11 / 12),
        ("Nig", "night", 3 / 5),
        ("Ni", "night", 0),  # NL = 3 / 5
        ("ab", "abcd", 0),  # NL = 1 / 2
        ("555-0143", "555-0142", 0),
        ("2020", "2024", 0),
        ("", "", 0),
        ("", "a", 0),
        ("night market or lamp", "night market", 0),
    ],
)
def test_similarity(said, gold, value):
    assert similarity(said, gold) == pytest.approx(value)
    assert words(said, {"answers": ["zzzzzzzzzzzzzzz", gold]}) == pytest.approx(value)


def change(**changed):
    return json.dumps({**FIELDS, **changed})


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        (json.dumps(FIELDS), 1),
        (change(total="3.50"), 1),
        (change(total=3.51), 0.75),
        (change(shop="Night Markt"), (3 + 11 / 12) / 4),
        (change(date="2024-05-04"), 0.75),
        (change(items={"tea": 3.5, "bread": 1}), 2 * 4 / 9),
        (change(items={"bread": 3.5}), 0.75),
        (change(items={}), 2 * 3 / 7),
        ('{"total": 3.5}', 0),  # 2 / 5
        ('{"total": 3.5, "date": "2024-05-03"}', 2 * 2 / 6),
        (json.dumps({**FIELDS, **{f"f{i}": i for i in range(8)}}), 2 * 4 / 16),
        (json.dumps({**FIELDS, **{f"f{i}": i for i in range(9)}}), 0),
    ],
)
def test_field_f1(answer, f1):
    assert field_f1(answer, {"fields": FIELDS}) == pytest.approx(f1 if f1 >= 0.5 else 0)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        "[]",
        "null",
        "3.5",
        json.dumps([FIELDS]),
        json.dumps(FIELDS) + " or so",
        json.dumps(FIELDS)[:-1],
        json.dumps(FIELDS)[:-1] + ', "total": 3.5}',
        change(Total=3.6),
        change(items=["tea", 3.5]),
        json.dumps(dict.fromkeys(FIELDS, 3.5)),
        json.dumps(dict.fromkeys(FIELDS, True)),
        json.dumps(dict.fromkeys(FIELDS, "")),
        '{"shop": NaN, "date": NaN, "items": {"tea": NaN}, "total": NaN}',
    ],
)
def test_field_attacks(answer):
    assert field_f1(answer, {"fields": FIELDS}) == 0


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"answer": 42, "page": 3}', 1),
        ('{"page": 3, "answer": "42"}', 1),
        ('{"answer": 42.0, "page": 3.0}', 1),
        ('{"answer": 42, "page": 2}', 0),
        ('{"answer": 41, "page": 3}', 0),
        ('{"answer": 42}', 0),
        ('{"answer": 42, "page": [1, 2, 3]}', 0),
        ('{"answer": [42], "page": 3}', 0),
        ('{"answer": 42, "page": 3, "why": "x"}', 0),
        ('{"answer": 42, "page": 3, "page": 3}', 0),
        ('{"answer": true, "page": true}', 0),
        ("42", 0),
        ("42, page 3", 0),
        ("", 0),
    ],
)
def test_cited(answer, right):
    assert cited(answer, {"answer": 42, "page": 3}) == right


def test_cited_words_are_all_or_nothing():
    reference = {"answer": "Night Market", "page": 1}
    assert cited('{"answer": "night market", "page": 1}', reference) == 1
    assert cited('{"answer": "night markt", "page": 1}', reference) == 0
    assert cited('{"answer": 1, "page": 1}', {"answer": 1, "page": 1}) == 1
    assert cited('{"answer": true, "page": 1}', {"answer": 1, "page": 1}) == 0


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANY = st.recursive(VALUES, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x))


@settings(max_examples=100)
@given(ANY, st.text())
def test_never_raises(value, text):
    for answer in (json.dumps(value), json.dumps({"answer": value, "page": value}), text):
        assert 0 <= field_f1(answer, {"fields": FIELDS}) <= 1
        assert cited(answer, {"answer": 4.25, "page": 3}) in (0, 1)
        assert 0 <= words(answer, {"answers": ["tea", "3"]}) <= 1
