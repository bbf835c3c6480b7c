"""Documents: contracts, and that the pictures show what the references say."""

import json
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from cogvit_jax.data.assets import FONT_PATH
from mmtp.data.records import Image
from rl.answers.reply import boxed
from rl.envs import CATEGORIES, document_qa, make_task, receipt_fields
from rl.envs.drawing.draw_documents import page
from rl.envs.environment import judge, play
from rl.envs.page_lookup import PAGES

NAMES = ("page_layout", "receipt_fields", "page_lookup", "document_qa")
GUESSES = {name: 0.1 for name in NAMES} | {"document_qa": 0.35}


@pytest.mark.parametrize("name", NAMES)
def test_guesses_are_rarely_right(name):
    category, total = CATEGORIES[name], 0.0
    for seed in range(60):
        task = make_task(category, seed, seed % 5)
        replies = category.guess(task, np.random.default_rng(seed))
        total += judge(category, play(category, task, replies)).value or 0
    assert total / 60 < GUESSES[name]


def score(name, task, answer):
    category = CATEGORIES[name]
    return judge(category, play(category, task, (boxed(json.dumps(answer)),))).value


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_blocks_are_apart_and_hold_all_ink(columns):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        pixels, blocks = page(rng, (420, 420), columns, seed % 2 == 0, "en" if seed % 3 else "zh")
        paper = pixels[0, 0].astype(int)
        ink = np.abs(pixels.astype(int) - paper).sum(2) > 60
        covered = np.zeros_like(ink, int)
        for block in blocks:
            x1, y1, x2, y2 = (round(v) for v in block.box)
            covered[max(0, y1 - 1) : y2 + 3, max(0, x1 - 2) : x2 + 3] += 1
            inside = ink[y1:y2, x1:x2]
            assert inside[: len(inside) // 3 + 1].any(), block
            assert inside[len(inside) // 2 :].any(), block
        assert covered.max() == 1
        assert not (ink & (covered == 0)).any()


def test_reading_order_goes_down_each_column():
    for seed in range(10):
        _, blocks = page(np.random.default_rng(seed), (420, 420), 3, True, "en")
        assert blocks[0].label == "title"
        assert blocks[-1].label == "figure"
        lefts = [block.box.left for block in blocks[1:-1]]
        assert lefts == sorted(lefts)
        for one, other in pairwise(blocks[1:-1]):
            if one.box.left == other.box.left:
                assert one.box.bottom < other.box.top


def test_layout_is_paid_for_order_and_boxes():
    task = make_task(CATEGORIES["page_layout"], 1, 3)
    gold = task.reference["blocks"]
    swapped = [gold[1], gold[0], *gold[2:]]
    near = [{**b, "bbox_2d": [max(0, n - 2) for n in b["bbox_2d"]]} for b in gold]
    assert score("page_layout", task, near) == 1
    pairs = len(gold) * (len(gold) - 1) / 2
    assert score("page_layout", task, swapped) == pytest.approx((1 + 1 - 2 / pairs) / 2)
    part = score("page_layout", task, gold[:-1])
    assert part == pytest.approx((2 * (len(gold) - 1) / (2 * len(gold) - 1) + 1) / 2)


@pytest.mark.parametrize("difficulty", range(5))
def test_receipts_add_up(difficulty):
    for seed in range(10):
        fields = make_task(CATEGORIES["receipt_fields"], seed, difficulty).reference["fields"]
        items = sum(Decimal(str(v)) for v in fields["items"].values())
        off = items - Decimal(str(fields["total"]))
        assert off == 0 if difficulty < 3 else 0 < off < 1  # the discount


def test_a_field_that_is_wrong_costs_its_share():
    task = make_task(CATEGORIES["receipt_fields"], 2, 4)
    gold = task.reference["fields"]
    count = 4 + len(gold["items"])
    assert score("receipt_fields", task, gold | {"total": gold["total"] + 1}) == 1 - 1 / count
    assert score("receipt_fields", task, gold | {"total": str(gold["total"])}) == 1
    assert score("receipt_fields", task, gold | {"date": "2031-01-01"}) == 1 - 1 / count


def test_lookups_need_their_page():
    for difficulty, count in enumerate(PAGES):
        task = make_task(CATEGORIES["page_lookup"], 5, difficulty)
        assert sum(isinstance(part, Image) for part in task.observation.parts) == count
        gold = {key: task.reference[key] for key in ("answer", "page")}
        assert score("page_lookup", task, gold) == 1
        assert task.reference["prices"][gold["page"] - 1] == gold["answer"]
        assert len(set(task.reference["prices"]) - {0}) == (1 if difficulty == 0 else count)
        for page_number in range(-1, count + 2):
            if page_number != gold["page"]:
                assert score("page_lookup", task, gold | {"page": page_number}) == 0


def test_one_wrong_digit_of_a_document_is_wrong():
    seen = 0
    for seed in range(60):
        task = make_task(CATEGORIES["document_qa"], seed, 2)
        gold = task.reference["answers"][0]
        if gold[-1:].isdigit():
            wrong = gold[:-1] + str((int(gold[-1]) + 1) % 10)
            played = play(CATEGORIES["document_qa"], task, (boxed(wrong),))
            assert judge(CATEGORIES["document_qa"], played).value == 0
            seen += 1
    assert seen > 5


def test_drawn_characters_are_in_the_font():
    known = set((FONT_PATH.parent / "font_characters.txt").read_text(encoding="utf-8"))
    drawn = [*document_qa.HEADS["zh"], *document_qa.HEADS["en"], "×", *"0123456789-."]
    for language in ("en", "zh"):
        drawn += [*receipt_fields.WORDS[language].values(), receipt_fields.SHOPS[language]]
    assert set("".join(drawn)) <= known | {" "}
