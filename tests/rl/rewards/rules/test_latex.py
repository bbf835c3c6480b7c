r"""Formulas: what prints the same is equal, what prints otherwise is not, and nothing breaks it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.rewards.rules.latex import MAX_CHARACTERS, canonical, formula
from tests.at_most import at_most

PIECES = (
    "{", "}", "^", "_", "'", "[", "]", "\\frac", "\\sqrt", "\\left", "\\right", "\\mathrm", "\\sin",
    "\\", "\\\\", "\\{", "$", "x", "2", "+", " ", "\\,", ".", "\\sum", "\ud800", "π", "²",
)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x^2", "x^{2}"), ("x^{2}", "{x}^{2}"), ("x_i^2", "x^2_i"), ("x_{i}^{2}", "{x}^{2}_{i}"),
        (r"\frac12", r"\frac{1}{2}"), (r"\dfrac{a}{b}", r"\frac{a}{b}"), ("a + b", "a+b"),
        (r"$a+b$", "a+b"), (r"$$a+b$$", "a+b"), (r"\(a+b\)", "a+b"), (r"\[a+b\]", "a+b"),
        (r"\left(a+b\right)", "(a+b)"), (r"\left.x\right|", "x|"), (r"\mathrm{sin}x", r"\sin x"),
        (r"\operatorname{lim}_{x\rightarrow 0}", r"\lim_{x\to0}"), (r"\mathrm{d}x", "dx"),
        (r"\int_0^1 x\,dx", r"\int_{0}^{1}xdx"), (r"a\le b", r"a\leq b"), ("a≤b", r"a \leq b"),
        ("2×3", r"2\times3"), ("2π", r"2\pi"), ("f'", r"f^{\prime}"), ("f''", r"f^{\prime\prime}"),
        (r"\sqrt[3]{x}", r"\sqrt[3]x"), (r"\sqrt2", r"\sqrt{2}"), ("{a}+{{b}}", "a+b"),
        (r"\sum\limits_{i=1}^n i", r"\sum_{i=1}^{n}i"), ("（a＋b）", "(a+b)"), (r"|x|",
        r"\lvert x\rvert"),
        (r"x^\frac12", r"x^{\frac{1}{2}}"), ("a−b", "a-b"), ("a~b", "ab"),
    ],
)  # fmt: skip
def test_prints_the_same(one, other):
    assert canonical(one) is not None
    assert canonical(one) == canonical(other)
    assert formula(one, {"answers": [other]}) == 1
    assert formula(other, {"answers": ["z", one]}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x^2", "x_2"), ("x^2", "x2"), ("x^{2}", "2^{x}"), ("x^{23}", "x^23"), ("ab^2", "{ab}^2"),
        (r"\frac{a}{b}", r"\frac{b}{a}"), (r"\frac{a}{b}", "a/b"), (r"\frac{12}{3}", r"\frac123"),
        ("a+b", "b+a"), ("2+3", "5"), ("X", "x"), (r"\sin x", "sinx"), (r"\sin x", r"\cos x"),
        (r"\sqrt{x+1}", r"\sqrt{x}+1"), (r"\sqrt[3]{x}", r"\sqrt{x}"), (r"\sqrt[3]{x}",
        r"3\sqrt{x}"),
        (r"\leq", "<"), ("(a)", "[a]"), ("-x", "x"), ("x", "xx"), (r"\alpha", "a"), ("x'", "x"),
        (r"\hat{x}", "x"), (r"\sum_{i=1}^{n}i", r"\sum_{i=1}^{m}i"), ("x²", "x^2"), ("", "x"),
        (r"\mathbf{x}", "x"), (r"\{a\}", "a"), ("x_{1}x_{2}", "x_{2}x_{1}"), ("f'", "f^1"),
    ],
)  # fmt: skip
def test_prints_otherwise(one, other):
    assert canonical(one) != canonical(other)
    assert formula(one, {"answers": [other]}) == 0
    assert formula(other, {"answers": [one]}) == 0


@pytest.mark.parametrize(
    "said",
    [
        "{", "}", "x}", "{x", "x^", "x_", "x^2^3", "x_1_2", "x'^2'^2", r"\frac", r"\frac1",
        r"\frac{1}",
        r"\sqrt", r"\sqrt[3]", r"\sqrt[3", r"\mathrm", "x^}", "^^", "{" * 1000 + "}" * 1000,
        "x" * (MAX_CHARACTERS + 1), r"\frac" * 300, "^" * 500, r"\sqrt[" * 300,
    ],
)  # fmt: skip
def test_no_formula(said):
    assert canonical(said) is None
    assert formula(said, {"answers": ["x"]}) == 0
    assert formula(said, {"answers": [said]}) == 0  # what is none is not even itself


@pytest.mark.parametrize(
    "said", ["", " ", "$$", "{}", "{{}}", r"\left", r"\,", "x or y", "x=1, x=2", "the formula is x",
    "x.", "xx", "x\\", "\\"]
)  # fmt: skip
def test_what_has_fooled_others(said):
    """OCRBench looks for the formula inside of the answer."""
    assert formula(said, {"answers": ["x"]}) == 0
    assert formula(said, {"answers": []}) == 0


@given(st.lists(st.sampled_from(PIECES), max_size=14))
@settings(max_examples=400)
def test_never_raises(pieces):
    said = "".join(pieces)
    row = canonical(said)
    assert formula(said, {"answers": [said, "x"]}) in (0.0, 1.0)
    if row:
        assert formula(said, {"answers": [said]}) == 1
        # Dollars and the like are taken off outside only, and so is the space of a last "\\ ".
        bare = said.strip()
        inside = not bare.startswith(("$", "\\(", "\\[")) and not bare.endswith("\\")
        assert not inside or canonical(f"{{{said}}}") in (row, None)


@pytest.mark.parametrize("piece", [*PIECES, "\\sqrt[", "x^{", "{}", "\\left.", "$$"])
def test_long_ones_take_no_time(piece):
    with at_most(0.5):
        for length in (MAX_CHARACTERS, 1_000_000):
            canonical(piece * (length // len(piece)))
