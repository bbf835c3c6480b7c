"""SVG, HTML and Python: code and picture say the same, and the outputs are what Python prints."""

import contextlib
import io

import numpy as np
import pytest

from mmtp.data.records import Image
from mmtp.data.tasks import draw, pages, svg
from mmtp.data.tasks.example import on_grid
from mmtp.data.tasks.scenes import PALETTE

COUNT = 40


def _pictures(document):
    parts = [part for message in document.messages for part in message.parts]
    return [part.data for part in parts if isinstance(part, Image)]


def _question(document):
    return next(p.text for p in document.messages[0].parts if hasattr(p, "text"))


def test_svg_is_drawn_where_it_says():
    code = (
        '<svg viewBox="0 0 56 56">\n<circle cx="14" cy="42" r="10" fill="red"/>\n'
        '<rect x="30" y="4" width="20" height="12" fill="blue"/>\n'
        '<polygon points="40,30 50,50 30,50" fill="black"/>\n</svg>'
    )
    picture = svg.render(code)
    assert picture.shape == (56, 56, 3)
    for colour, inside, outside in (
        ("red", [(14, 42), (6, 42), (14, 51)], [(2, 42), (22, 50)]),
        ("blue", [(30, 4), (49, 15), (31, 14)], [(29, 4), (50, 4), (30, 3), (30, 16)]),
        ("black", [(40, 40), (32, 49), (48, 49)], [(32, 34), (48, 34)]),
    ):
        for x, y in inside:
            np.testing.assert_array_equal(picture[y, x], PALETTE[colour][1], (x, y))
        for x, y in outside:
            np.testing.assert_array_equal(picture[y, x], 255, (x, y))
    with pytest.raises(ValueError, match="<text>"):
        svg.render('<svg viewBox="0 0 56 56"><text fill="red"/></svg>')


@pytest.mark.parametrize(
    ("task", "render"), [("svg_from_picture", svg), ("html_from_picture", pages)]
)
def test_the_answer_renders_as_the_picture_and_only_it_does(task, render):
    documents = [draw(task, "train", index) for index in range(COUNT)]
    pictures = {}
    for document in documents:
        (picture,), code = _pictures(document), document.tags["answer"]
        np.testing.assert_array_equal(render.render(code), picture)
        assert len(code) < 420
        assert pictures.setdefault(picture.tobytes(), code) == code


def test_html_is_read_as_it_is_written():
    rng = np.random.default_rng(0)
    for language in ("en", "zh"):
        for _ in range(COUNT):
            blocks = pages.blocks(rng, language)
            assert pages.read(pages.document(blocks)) == blocks
            used = sum(block.space + 3 for block in blocks) + pages.MARGIN - 3
            assert used <= pages.HEIGHT


@pytest.mark.parametrize(("task", "render"), [("svg_choice", svg), ("html_choice", pages)])
def test_one_of_two_pictures_is_that_of_the_code(task, render):
    for index in range(COUNT):
        document = draw(task, "train", index)
        code = _question(document).rpartition("\n")[0]
        same = [np.array_equal(render.render(code), picture) for picture in _pictures(document)]
        assert same == [answer == document.tags["answer"] for answer in ("1", "2")]


def test_a_repair_makes_the_code_draw_the_picture():
    for index in range(COUNT):
        document = draw("svg_repair", "train", index)
        (picture,), wrong = _pictures(document), document.tags["wrong"]
        key, _, _ = document.tags["answer"].partition("=")
        assert not np.array_equal(svg.render(wrong), picture)
        repaired = []
        for line in range(wrong.count("\n")):
            lines = wrong.split("\n")
            before, found, after = lines[line].partition(f" {key}=")
            if found:
                rest = after[after.index('"', 1) + 1 :]
                lines[line] = f"{before} {document.tags['answer']}{rest}"
                repaired.append(np.array_equal(svg.render("\n".join(lines)), picture))
        assert sum(repaired) == 1


def test_python_prints_what_the_answer_says():
    """Only code that was drawn here is run."""
    for index in range(150):
        document = draw("python_prints", "train", index)
        code = _question(document).rpartition("\n")[0]
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(code, {})
        assert output.getvalue().strip() == document.tags["answer"]
        written = draw("python_writes", "train", index).tags["answer"]
        compile(written, "answer", "exec")


def test_coordinates_stay_on_the_grid():
    assert [on_grid(value, 56) for value in (-3.0, 0, 28, 55.99, 56, 70)] == [
        0,
        0,
        500,
        999,
        999,
        999,
    ]
