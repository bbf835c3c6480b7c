"""Visual code: contracts, and that code and picture belong together."""

import numpy as np

from mmtp.data.records import Image
from rl.answers.html_page import parse_page
from rl.answers.reply import boxed
from rl.answers.svg import parse_svg
from rl.envs import CATEGORIES
from rl.envs.category import make_task
from rl.envs.environment import judge, play
from rl.rewards.rules.rasters import render
from rl.rewards.rules.web_pages import paint


def test_pictures_are_those_of_the_code():
    for seed in range(8):
        task = make_task(CATEGORIES["svg_to_code"], seed, seed % 5)
        code, size = task.reference["code"], tuple(task.reference["size"])
        assert np.array_equal(_picture(task), render(parse_svg(code), size))
        task = make_task(CATEGORIES["ui_to_html"], seed, seed % 5)
        code, width = task.reference["code"], task.reference["width"]
        assert np.array_equal(_picture(task), paint(parse_page(code), width))


def _picture(task):
    return next(part.data for part in task.observation.parts if isinstance(part, Image))


def _score(name, task, code):
    return judge(CATEGORIES[name], play(CATEGORIES[name], task, (boxed(code),))).value


def test_svg_that_is_nearly_right_has_part_of_the_reward():
    for seed in range(6):
        task = make_task(CATEGORIES["svg_to_code"], seed, 3)
        lines = task.reference["code"].split("\n")
        fewer = [_score("svg_to_code", task, "\n".join([*lines[:n], "</svg>"])) for n in (6, 5, 3)]
        assert 1 > fewer[0] > fewer[1] > fewer[2] >= 0
        assert _score("svg_to_code", task, task.reference["code"].replace("\n", "  ")) == 1


def test_page_that_is_nearly_right_has_part_of_the_reward():
    for seed in range(6):
        task = make_task(CATEGORIES["ui_to_html"], seed, 3)
        code = task.reference["code"]
        lines = code.split("\n")
        missing = _score("ui_to_html", task, "\n".join([*lines[:-2], lines[-1]]))
        assert 0.3 < missing < 1
        more = _score("ui_to_html", task, code.replace("</body>", "<p>one word more</p></body>"))
        assert 0.5 < more < 1
        reworded = _score("ui_to_html", task, code.replace("</h1>", "x</h1>"))
        assert 0.5 < reworded < 1
