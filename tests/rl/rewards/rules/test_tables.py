"""Tables: by hand, against brute force, and what would be slow or free elsewhere."""

import itertools
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.html_table import Node, parse_table
from rl.rewards.rules.tables import mapping_f1, parse_csv, rename_cost, teds, tree_distance
from tests.at_most import at_most

CSV = "item,price,count\ntea,10,200\ncoffee,40,100\n"
GOLD = {"csv": CSV}


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        (CSV, 1),
        ("item,count,price\ncoffee,100,40\ntea,200,10", 1),
        ('"",Price,COUNT\n"tea",10.0,"200"\ncoffee, 40,100.', 1),
        ("item,price,count\ntea,10,200\ncoffee,44,100", (3 + 0.9) / 4),
        ("item,price,count\ntea,10,200\ncoffee,47,100", 3 / 4),
        ("item,price\ntea,10\ncoffee,40", 2 * 2 / 6),
        ("item,price\ntea,10", 0),  # 2 / 5
        ("item,price,count\ntee,10,200\ncoffee,40,100", (2 + 2 * 2 / 3) / 4),
        ("item,price,count\nxxx,10,200\ncoffee,40,100", 0.5),
        ("item,price,count\ntea,10,200\ncoffee,40,100\ncoffee,40,100", 2 * 4 / 10),
    ],
)
def test_mapping_by_hand(answer, f1):
    assert mapping_f1(answer, GOLD) == pytest.approx(f1)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        ",",
        ",,\n,,\n,,",
        "item,price,count",
        "item,price,count\ntea,10,200,5\ncoffee,40,100",
        "item\tprice\tcount\ntea\t10\t200",
        f"Here it is:\n{CSV}",
        f"not {CSV}",
        f"Here it is: {CSV}",
        f"```csv\n{CSV}```",
        "item,price,count\ntea,200,10\ncoffee,100,40",
        "item,price,count\ntea,nan,inf\ncoffee,inf,nan",
        "item,price,count\ntea,10 or 200,10 or 200\ncoffee,40 or 100,40 or 100",
        "item,price,count\n" + "".join(f"tea,{i},{i}\ncoffee,{i},{i}\n" for i in range(201)),
        'item,price,count\n"tea,10,200\ncoffee,40,100',
    ],
)
def test_mapping_attacks(answer):
    assert mapping_f1(answer, GOLD) == 0


def test_years_and_zeros_and_units():
    assert mapping_f1("year,v\n2024,5", {"csv": "year,v\n2023,5"}) == 0
    assert mapping_f1("year,v\n2023,0.0", {"csv": "year,v\n2023,0"}) == 1
    assert mapping_f1("year,v\n2023,0.01", {"csv": "year,v\n2023,0"}) == 0
    assert mapping_f1("year,v\n2023,5%", {"csv": "year,v\n2023,5"}) == 0
    assert mapping_f1("year,v\n2023,5%", {"csv": "year,v\n2023,5", "units": ["%"]}) == 1


@settings(max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=4, max_size=4), st.lists(st.integers(1, 6), min_size=4))
def test_mapping_is_the_best_matching(gold, said):
    said = said[:5]
    sheets = ["k,v\n" + "".join(f"tea,{v * 10}\n" for v in values) for values in (gold, said)]
    longer, shorter = sorted((gold, said), key=len, reverse=True)
    best = max(
        sum(a == b for a, b in zip(longer, order, strict=False))
        for order in itertools.permutations([*shorter, *[None] * (len(longer) - len(shorter))])
    )
    f1 = 2 * best / (len(gold) + len(said))
    assert mapping_f1(sheets[1], {"csv": sheets[0]}) == pytest.approx(f1 if f1 >= 0.5 else 0)


def html(*rows, tag="td"):
    cells = ("".join(f"<{tag}>{cell}</{tag}>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


ROWS = (("", "a", "b"), ("tea", "10", "200"), ("coffee", "40", "100"))
TRUE = {"html": html(*ROWS)}  # 1 + 3 + 9 nodes


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        (html(*ROWS), 1),
        (f"\n{html(*ROWS, tag='th')} ", 1),
        (html(*ROWS).replace("<table>", "<TABLE border=1 onload=x()><tbody>"), 1),
        (html(*ROWS).replace("</td>", ""), 1),
        (html(*ROWS[:2], ("coffee", "40", "101")), 1 - 1 / 3 / 13),
        (html(*ROWS[:2], ("coffee", "40", "")), 1 - 1 / 13),
        (html(*ROWS[:2], ("coffee", "40")), 1 - 1 / 13),
        (html(*ROWS[:2]), 1 - 4 / 13),
        (html(*ROWS).replace("<td>tea", "<td colspan=2>tea"), 1 - 1 / 13),
        (html(*ROWS, ("x", "y", "z")), 1 - 4 / 17),
    ],
)
def test_teds_by_hand(answer, score):
    assert teds(answer, TRUE) == pytest.approx(score)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "<table></table>",
        html(*[("", "", "")] * 3),
        html(*ROWS[:1]),
        html(*ROWS) * 2,
        f"Here: {html(*ROWS)}",
        f"```html\n{html(*ROWS)}\n```",
        html(*ROWS).removesuffix("</table>"),
        f"<table><tr><td>{html(*ROWS)}</td></tr></table>",
        html(*ROWS).replace("tea", "<script>tea</script>"),
        html(*ROWS).replace("tea", "<!-- -->tea"),
        html(*ROWS) + "\x00</table>",
        "<table>tea" + html(*ROWS).removeprefix("<table>"),
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>{html(*ROWS)}',
        html(*ROWS).replace("<td>tea", "<td colspan=0>tea"),
        html(*ROWS).replace("<td>tea", "<td colspan=999999999999>tea"),
        html(*[[str(n) for n in range(40)]] * 40),
        html(*ROWS).replace("</table>", "<td/></table>"),
    ],
)
def test_teds_attacks(answer):
    assert teds(answer, TRUE) == 0


def test_entities_are_characters():
    assert parse_table(html(("a&amp;b &lt;", "x<br>y"))) == parse_table(
        html(("a&#38;b &#60;", "x y"))
    )
    assert parse_table(html(("H<sub>2</sub>O",))) == parse_table(html(("H2O",)))


@pytest.mark.parametrize(
    "answer",
    [
        html(*[["1"] * 100] * 1000),
        html(*[["1"] * 25] * 4 * 10),
        "<table>" + "<b>" * 9000 + "</table>",
        "<table>" + "<tr><td>" * 5000 + "</table>",
        "<table>" + "<table>" * 5000 + "</table>",
        "<table>" + "&amp;" * 9000 + "</table>",
        "<table" + " a=1" * 12000 + "></table>",
        "<table>" * 200_000,
    ],
)
def test_nothing_takes_long(answer):
    gold = {"html": html(*[[str(n) for n in range(10)]] * 10)}
    teds("<table></table>", gold)  # imports
    with at_most(2):
        assert teds(answer, gold) == 0
    assert mapping_f1(answer, GOLD) == 0


def test_the_slowest_that_is_let_through():
    gold = html(*[[str(n) for n in range(10)]] * 10)
    said = html(*[[str(n + 1) for n in range(10)]] * 19)
    with at_most(5):
        teds(said, {"html": gold})


def forest_distance(one, other):
    """Zhang and Shasha's recursion, without their speed."""

    @cache
    def distance(a, b):
        if not a or not b:
            return sum(node.size for node in a + b)
        (*rest_a, last_a), (*rest_b, last_b) = a, b
        rest_a, rest_b = tuple(rest_a), tuple(rest_b)
        return min(
            1 + distance(rest_a + last_a.children, b),
            1 + distance(a, rest_b + last_b.children),
            distance(rest_a, rest_b)
            + distance(last_a.children, last_b.children)
            + rename_cost(last_a, last_b),
        )

    return distance((one,), (other,))


CELLS = st.builds(
    lambda text, span: Node("td", (span, 1), text),
    st.text(alphabet="ab", max_size=2),
    st.integers(1, 2),
)
ROW = st.lists(CELLS, max_size=3).map(lambda cells: Node("tr", children=tuple(cells)))
TREES = st.lists(ROW, max_size=3).map(lambda rows: Node("table", children=tuple(rows)))


@settings(max_examples=60)
@given(TREES, TREES)
def test_tree_distance_against_brute_force(one, other):
    assert tree_distance(one, other) == pytest.approx(forest_distance(one, other))


@settings(max_examples=100)
@given(st.text() | st.text(alphabet="<>/tabledr\" =&;,\n'1") | st.binary().map(repr))
def test_never_raises(answer):
    for said in (answer, f"<table>{answer}</table>", f"<table><tr><td>{answer}</td></tr></table>"):
        assert 0 <= teds(said, TRUE) <= 1
        assert 0 <= mapping_f1(said, GOLD) <= 1
        parse_csv(said)
