"""Texts: numbers by hand, brute force, and what has fooled other verifiers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules import text
from rl.rewards.rules.text import (
    MAX_CHARACTERS,
    alias,
    anls,
    error_rate,
    exact,
    fold_width,
    normalise,
    similarity,
    transcription,
)
from tests.at_most import at_most

RULES = (exact, alias, transcription, anls)
EVERYTHING = "".join(map(chr, range(32, 127))) * 3


def of(*answers):
    return {"answers": list(answers)}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("  Red  Circle. ", "red circle"), ("红色。", "红色"), ("红 色", "红色"),
        ("Ａｂｃ１２３", "abc123"), ("共 3 个", "共3个"), ("５０％", "50%"), ("a　b", "a b"),
        ("你好，世界！", "你好,世界!"), ("他说“好”", '他说"好"'), ("一、二", "一,二"),
        ("", ""), (".", ""), ("...", ".."), ("²", "²"), ("①", "①"), ("STRASSE", "strasse"),
        ("open the 门 now", "open the门now"),
    ],
)  # fmt: skip
def test_normalise(raw, expected):
    assert normalise(raw) == expected
    assert normalise(fold_width(raw)) == expected


@pytest.mark.parametrize(
    ("said", "gold", "value"),
    [
        ("red", "red", 1), ("RED.", "red", 1), (" red ", "Red", 1), ("红 色。", "红色", 1),
        ("１２", "12", 1), ("", "red", 0), (".", "red", 0), ("redd", "red", 0), ("re", "red", 0),
        ("red blue", "red", 0), ("not red", "red", 0), ("red or blue", "red", 0), ("²", "2", 0),
        ("٣", "3", 0), ("red\x00", "red", 0),
    ],
)  # fmt: skip
def test_exact(said, gold, value):
    assert exact(said, of(gold)) == value
    assert exact(said, of("something else", gold)) == value


@pytest.mark.parametrize(
    ("said", "gold", "value"),
    [
        ("The Eiffel Tower!", "Eiffel Tower", 1), ("eiffel-tower", "Eiffel Tower", 0),
        ("“Guernica”", "guernica", 1), ("St. Mary", "St Mary", 1), ("长城。", "长城", 1),
        # exact_alnum of others takes these.
        ("15", "1.5", 0), ("3", "-3", 0), ("50", "50%", 0), ("1.5", "1.5", 1), ("-3", "-3", 1),
        ("", "a", 0), ("the", "the", 0), ("!!!", "a", 0), ("Paris or London", "Paris", 0),
        ("Paris, London", "Paris", 0), ("It is Paris", "Paris", 0),
    ],
)  # fmt: skip
def test_alias(said, gold, value):
    assert alias(said, of(gold)) == value


def test_alias_takes_any_of_the_names():
    assert alias("NYC", of("New York City", "NYC", "New York")) == 1


@pytest.mark.parametrize(
    ("said", "gold", "rate", "like"),
    [
        ("kitten", "sitting", 3 / 7, 4 / 7), ("abc", "abc", 0, 1), ("abd", "abc", 1 / 3, 2 / 3),
        ("abcdef", "abc", 1, 0.5), ("", "abc", 1, 0), ("abcabcabc", "abc", 2, 1 / 3),
    ],
)  # fmt: skip
def test_numbers_by_hand(said, gold, rate, like):
    assert error_rate(said, gold) == pytest.approx(rate)
    assert similarity(said, gold) == pytest.approx(like)


@pytest.mark.parametrize(
    ("said", "gold", "reading", "question"),
    [
        ("hello", "hello", 1, 1), ("hallo", "hello", 0.8, 0.8), ("HALLO.", "hello", 0.8, 0.8),
        ("hxxlo", "hello", 0.6, 0.6), ("hxxxo", "hello", 0, 0),
        ("abxx", "abcd", 0, 0),  # exactly one half
        ("abxxcd", "abcd", 0, 1 - 2 / 6),  # CER 1/2, NL 1/3
        ("abcdab", "abcd", 0, 0), ("not hello", "hello", 0, 0),  # the text, and more
        ("not a very long line of words", "a very long line of words", 0, 0),
        ("ab", "abcd", 0, 0), ("红色园", "红色圆", 2 / 3, 2 / 3), ("红 色 圆", "红色圆", 1, 1),
        ("", "hello", 0, 0), (" . ", "hello", 0, 0),
    ],
)  # fmt: skip
def test_gates(said, gold, reading, question):
    assert transcription(said, of(gold)) == pytest.approx(reading)
    assert anls(said, of(gold)) == pytest.approx(question)
    assert anls(said, of("zzzzzzzzzz", gold)) == pytest.approx(question)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "said",
    ["", " ", ".", "\x00", EVERYTHING, "None", "hello hello", "olleh", "(", "say hello to all"],
)
def test_what_has_fooled_others(rule, said):
    """Nothing, everything, the text twice or inside of more: none is the text."""
    assert rule(said, of("hello")) == 0


@pytest.mark.parametrize("rule", RULES)
def test_nothing_expected_is_never_met(rule):
    assert rule("", of()) == 0
    assert rule("a", of()) == 0


def test_an_empty_expected_text_is_a_mistake():
    with pytest.raises(ValueError, match="must not be empty"):
        error_rate("a", "")
    assert similarity("", "") == 0  # others divide by zero


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("piece", ["a", " ", "红 ", ".", "! ", "\ud800", "1-"])
def test_a_megabyte_takes_no_time(rule, piece):
    with at_most(0.5):
        assert rule(piece * (1_000_000 // len(piece)), of("hello", "b" * 300)) == 0
        assert rule(piece * (MAX_CHARACTERS // len(piece)), of("hello", "b" * 300)) == 0


def _distance(one, other):
    """Levenshtein's table, as in the textbook."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


@given(st.text("abc红", max_size=9), st.text("abc红", min_size=1, max_size=9))
@settings(max_examples=150)
def test_against_the_textbook(said, gold):
    edits = _distance(said, gold)
    assert error_rate(said, gold) == pytest.approx(edits / len(gold))
    more = gold in said and said != gold
    reading = 1 - edits / len(gold) if edits < len(gold) / 2 and said and not more else 0
    assert transcription(said, of(gold)) == pytest.approx(reading)
    longer = max(len(said), len(gold))
    question = 1 - edits / longer if edits < longer / 2 and not more else 0
    assert anls(said, of(gold)) == pytest.approx(question)


@given(
    st.text(max_size=30), st.lists(st.text(min_size=1, max_size=30).filter(normalise), max_size=3)
)
@settings(max_examples=200)
def test_never_raises(said, golds):
    for rule in RULES:
        assert 0 <= rule(said, {"answers": golds}) <= 1
    assert normalise(normalise(said).rstrip(".")) == normalise(said).rstrip(". ") or "." in said
    for gold in golds:
        assert exact(gold, {"answers": golds}) == 1
        assert transcription(gold, {"answers": golds}) == 1
        assert anls(gold, {"answers": golds}) == 1


def test_widths_are_a_table_of_single_characters():
    assert all(0x20 <= half < 0x7F for half in text._WIDTHS.values())
