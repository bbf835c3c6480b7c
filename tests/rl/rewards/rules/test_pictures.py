"""Pictures of code: numbers by hand, blank baselines, and attacks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers.html_page import parse_page
from rl.answers.svg import parse_svg
from rl.rewards.rules import pictures
from rl.rewards.rules.rasters import render
from rl.rewards.rules.web_pages import Block, layout, paint
from tests.at_most import at_most

HEAD = '<svg viewBox="0 0 60 60">'
SVG = f'{HEAD}<rect x="0" y="0" width="30" height="60" fill="#ff0000"/></svg>'
SMALL = f'{HEAD}<circle cx="20" cy="20" r="6" fill="#0000ff"/></svg>'
PAGE = (
    '<body><h1 style="color:#ff0000">Hello</h1><p>one two three</p>'
    '<div style="background:#00ff00;height:40px"></div></body>'
)


def svg(answer, code=SMALL):
    return pictures.svg(answer, {"code": code, "size": [60, 60]})


def page(answer, code=PAGE):
    return pictures.page(answer, {"code": code, "width": 200})


def test_rectangle_is_where_it_should_be():
    picture = render(parse_svg(SVG), (60, 60))
    assert (picture[:, :29] == (255, 0, 0)).all()
    assert (picture[:, 32:] == 255).all()


@pytest.mark.parametrize("tag", ["circle", "ellipse"])
def test_area_of_a_disc(tag):
    size = 'r="20"' if tag == "circle" else 'rx="20" ry="10"'
    code = f'{HEAD}<{tag} cx="30" cy="30" {size} fill="#000000"/></svg>'
    ink = 1 - render(parse_svg(code), (60, 60)).mean() / 255
    area = np.pi * 20 * (20 if tag == "circle" else 10) / 3600
    assert ink == pytest.approx(area, rel=0.04)


def test_the_view_is_stretched_onto_the_picture():
    twice = '<svg viewBox="0 0 120 120"><circle cx="40" cy="40" r="12" fill="#0000ff"/></svg>'
    assert svg(twice) == 1
    moved = '<svg viewBox="100 50 60 60"><circle cx="120" cy="70" r="6" fill="#0000ff"/></svg>'
    assert svg(moved) > 0.99


def test_ssim_against_its_definition():
    """One window of 7 x 7: (2ab + c1)(2cov + c2) / ((a² + b² + c1)(var + var + c2))."""
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 256, (7, 7, 3)).astype(np.uint8) for _ in "ab")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    by_hand = []
    for channel in range(3):
        a, b = one[..., channel].ravel().astype(float), other[..., channel].ravel().astype(float)
        cov = np.cov(a, b)  # of the sample: ddof = 1
        top = (2 * a.mean() * b.mean() + c1) * (2 * cov[0, 1] + c2)
        bottom = (a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2)
        by_hand.append(top / bottom)
    assert pictures.ssim(one, other) == pytest.approx(np.mean(by_hand))
    assert pictures.ssim(one, one) == pytest.approx(1)


def test_likeness_by_hand():
    white, black = np.full((20, 20, 3), 255, np.uint8), np.zeros((20, 20, 3), np.uint8)
    assert pictures.likeness(white, white) == pytest.approx(1)
    assert pictures.likeness(white, black) == pytest.approx(0, abs=1e-3)
    grey = np.full((20, 20, 3), 51, np.uint8)  # a fifth of the way
    between = 0.5 * pictures.ssim(grey, black) + 0.5 * 0.8
    assert pictures.likeness(grey, black) == pytest.approx(between)


def test_exact_is_one_and_blank_is_nothing():
    for code in (SVG, SMALL):
        assert svg(code, code) == 1
        assert svg(f"{HEAD}</svg>", code) == 0
        for colour in ("white", "black", "#ff0000", "#0000ff", "#808080", "#fefefe", "#7f0000"):
            plain = f'{HEAD}<rect x="0" y="0" width="60" height="60" fill="{colour}"/></svg>'
            assert svg(plain, code) == 0, colour


def test_nearer_is_better():
    shifted = [SMALL.replace('cx="20"', f'cx="{x}"') for x in (20, 21, 22, 40)]
    values = [svg(code) for code in shifted]
    assert values[0] == 1
    assert values == sorted(values, reverse=True)
    assert 1 > values[1] > values[2] > 0
    assert values[3] == 0


@pytest.mark.parametrize(
    "attack",
    [
        "",
        "<svg>",
        HEAD,
        f"Here: {SMALL}",
        SMALL + SMALL,
        f"<!DOCTYPE svg>{SMALL}",
        f'<?xml version="1.0"?>{SMALL}',
        SMALL.replace("<circle", "<script>x</script><circle"),
        SMALL.replace("<circle", '<image href="http://x/y.png"/><circle'),
        SMALL.replace("<circle", '<use href="#a"/><circle'),
        SMALL.replace("<circle", "<!-- x --><circle"),
        SMALL.replace("<circle", "<g><circle").replace("</svg>", "</g></svg>"),
        SMALL.replace('r="6"', 'r="6" onload="x()"'),
        SMALL.replace('r="6"', 'r="6" r="6"'),
        SMALL.replace('r="6"', 'r="-6"'),
        SMALL.replace('r="6"', 'r="1e9"'),
        SMALL.replace('r="6"', 'r="nan"'),
        SMALL.replace('r="6"', 'r="99999"'),
        SMALL.replace('r="6"', "r='6'"),
        SMALL.replace("#0000ff", "url(#x)"),
        SMALL.replace("#0000ff", "&lol;"),
        SMALL.replace("0 0 60 60", "0 0 0 0"),
        SMALL.replace("0 0 60 60", "0 0 0.0001 60"),
        SMALL.replace("0 0 60 60", "0 0 60"),
        HEAD + '<rect x="1" y="1" width="2" height="2"/>' * 101 + "</svg>",
        HEAD * 500,
        HEAD + " " * 30_000 + "</svg>",
        '<svg viewBox="0 0 60 60"' + " " * 15_000,
    ],
)
def test_svg_attacks(attack):
    with at_most(2):
        assert svg(attack) == 0


def test_huge_shapes_are_drawn_in_no_time():
    points = " ".join(
        f"{(i * 7919) % 9999 - 4999},{(i * 104729) % 9999 - 4999}" for i in range(190)
    )
    shape = f'<polyline points="{points}" fill="#00ff00" stroke="#ff0000" stroke-width="5000"/>'
    code = f'<svg viewBox="0 0 1 1">{shape * 5}</svg>'
    assert parse_svg(code) is not None
    with at_most(5):
        svg(code)


def test_layout_by_hand():
    blocks, bottom = layout(parse_page(PAGE), 200)
    assert [block.kind for block in blocks] == ["text", "text", "fill"]
    heading, words, bar = (block.box for block in blocks)
    assert heading[:2] == (8, 8)
    assert heading[3] == pytest.approx(8 + 20 * 1.3)
    assert words[1] == pytest.approx(heading[3] + 6)
    assert (bar[0], bar[2]) == (8, 192)
    assert bar[3] - bar[1] == pytest.approx(40)
    assert bottom == pytest.approx(bar[3] + 8)
    picture = paint(parse_page(PAGE), 200)
    assert (picture[round(bar[1]) + 2, 100] == (0, 255, 0)).all()


def test_rows_share_the_width():
    cell = '<div style="background:#0000ff"><p>a</p></div>'
    high = '<div style="background:#ff0000;height:50px"></div>'
    code = f'<body><div style="display:flex">{cell}{high}</div></body>'
    fills = [b for b in layout(parse_page(code), 206)[0] if b.kind == "fill"]
    assert [(b.box[0], b.box[2]) for b in fills] == [(8, 100), (106, 198)]
    assert fills[0].box[3] == fills[1].box[3] == 58


def test_page_likeness_by_hand():
    def text(words, x, colour=(0, 0, 0)):
        return Block("text", (x, 0, x + 100, 16), colour, words, 12)  # weight 1 + 40

    size = (200.0, 100.0)
    one = [text("hello", 0)]
    assert pictures.page_likeness(one, one, size) == 1
    assert pictures.page_likeness([text("hello", 20)], one, size) == pytest.approx((2 + 0.9) / 3)
    assert pictures.page_likeness([text("hellx", 0)], one, size) == pytest.approx((2 + 0.8) / 3)
    assert pictures.page_likeness([text("bye", 0)], one, size) == 0
    white = pictures.page_likeness([text("hello", 0, (255, 255, 255))], one, size)
    assert white == pytest.approx(2 / 3)
    twice = [text("hello", 0), text("again", 100)]
    assert pictures.page_likeness(twice, one, size) == pytest.approx(82 / 123)
    assert pictures.page_likeness([], one, size) == 0
    assert pictures.page_likeness(one, [], size) == 0


def test_equal_texts_are_paired_with_their_neighbours():
    def text(x):
        return Block("text", (x, 0, x + 40, 16), (0, 0, 0), "same", 12)

    row = [text(x) for x in (0, 50, 100)]
    assert pictures.page_likeness(row[::-1], row, (200.0, 100.0)) == 1


def test_best_pairs_against_every_permutation():
    import itertools

    rng = np.random.default_rng(3)
    words = ["alpha", "alphb", "beta", "betas", "gamma"]
    for _ in range(10):
        ours, theirs = (
            [Block("text", (0, i, 40, i + 9), (0, 0, 0), words[j]) for i, j in enumerate(order)]
            for order in rng.integers(0, 5, (2, 4))
        )
        best = max(
            sum(pictures.similarity(ours[i], theirs[j]) for i, j in enumerate(order))
            for order in itertools.permutations(range(4))
        )
        found = sum(v for _, _, v in pictures.pairs(ours, theirs, "text"))
        low = best - 4 * pictures.SAME_TEXT
        assert low - 1e-9 <= found <= best + 1e-9


@pytest.mark.parametrize(
    "attack",
    [
        "",
        "<body></body>",
        "<body><p></p></body>",
        '<body><div style="background:#ffffff;height:300px"></div></body>',
        '<body><div style="background:#00ff00;height:40px"></div></body>',
        PAGE + PAGE,
        f"Here: {PAGE}",
        f"```html\n{PAGE}\n```",
        f"<html>{PAGE}</html>",
        PAGE.replace("<p>", "<script>x</script><p>"),
        PAGE.replace("<p>", '<img src="http://x"><p>'),
        PAGE.replace("<p>", "<style>p{}</style><p>"),
        PAGE.replace("<p>", '<p onclick="x">'),
        PAGE.replace("<p>", '<p style="position:fixed">'),
        PAGE.replace("<p>", '<p style="background:url(http://x)">'),
        PAGE.replace("<p>", "<p>&nope;"),
        PAGE.replace("40px", "99999px"),
        PAGE.replace("40px", "-40px"),
        "<body>" + "<p>one two three</p>" * 299 + "</body>",
        "<body>" + "<div>" * 200 + "</div>" * 200 + "</body>",
        "<body>" * 3000,
        "<" * 19_000,
        "<body><p>" + "a" * 30_000 + "</p></body>",
    ],
)
def test_page_attacks(attack):
    with at_most(3):
        assert page(attack) == 0


def test_nested_rows_take_no_time():
    code = '<div style="display:flex;background:#ff0000">' * 14 + "</div>" * 14
    with at_most(3):
        page(f"<body>{code * 10}</body>")


def test_never_raise():
    said = [HEAD, "</svg>", "<rect ", "<body>", "</body>", "<p>", "</p>", '<div style="', '">', "<"]
    said += ['fill="', "&amp;", "display:flex", "x", " ", "/>", "9", 'points="1,2 3"', "<li>a</li>"]
    pieces = st.lists(st.sampled_from(said), max_size=14).map("".join)

    @settings(max_examples=120, database=None)
    @given(st.one_of(st.text(), pieces, pieces.map(lambda s: f"<body>{s}</body>")))
    def check(answer):
        assert 0 <= svg(answer) <= 1
        assert 0 <= page(answer) <= 1

    check()
