"""Looking at the gym: the program's commands, and the report."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html
from PIL import Image

from cogvit_jax.data.rendering.canvas import text_width
from mmtp.data.records import Image as Picture
from mmtp.data.records import Text
from rl import gym
from rl.answers.reply import boxed
from rl.envs import CATEGORIES, make_task
from rl.types import LEVELS, Observation, VerifierFailed
from rl.viewing import measures, pictures, report, sheets, texts
from rl.viewing.episodes import draw_sample, follow
from rl.viewing.markup import tag

NASTY = '<script>alert("1")</script><img src=x onerror=y>\x00\x1b[31m&amp;'


def said(capsys, *arguments):
    gym.main(list(map(str, arguments)))
    return capsys.readouterr().out


def typed(monkeypatch, *lines):
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def size(path):
    with Image.open(path) as picture:
        return picture.size


def test_list_has_every_category_and_the_totals(capsys):
    out = said(capsys, "list")
    cells = [[cell.strip() for cell in line.split("│")] for line in out.splitlines()]
    for category in CATEGORIES.values():
        row = next(row for row in cells if row[1:2] == [category.name])
        assert row[2:4] == [category.group, category.level]
        assert row[6] == str(category.max_turns)
    of = [sum(c.level == level for c in CATEGORIES.values()) for level in LEVELS]
    assert ["", "all", *(str(n or "") for n in of), str(len(CATEGORIES)), ""] in cells


def test_show_draws_rows_of_difficulties_and_columns_of_seeds(capsys, tmp_path):
    out = said(capsys, "show", "counting", "--seeds", 3, "--output", tmp_path)
    width, height = size(tmp_path / "counting.png")
    assert width == 3 * (sheets.sheet.WIDTH + sheets.sheet.GAP)
    assert height > 5 * 60
    for difficulty in range(5):
        for seed in range(3):
            task = make_task(CATEGORIES["counting"], seed, difficulty)
            assert f"{task.id}\n{task.observation.parts[-1].text}\n" in out
            assert f"=> {task.reference['answer']}\n" in out
    assert str(tmp_path / "counting.png") in out


def test_show_with_a_seed_has_every_observation(capsys, tmp_path):
    out = said(capsys, "show", "sokoban", "--seed", 3, "--difficulty", 1, "--output", tmp_path)
    category = CATEGORIES["sokoban"]
    oracle = category.oracle(make_task(category, 3, 1))
    assert [line for line in out.splitlines() if line.startswith("=> ")] == [
        f"=> {reply}" for reply in oracle
    ]
    folder = tmp_path / "sokoban_1_000003-zh"
    found = sorted(path.name for path in folder.glob("*.png"))
    turns = [f"turn_{n:02d}_0.png" for n in range(1, len(oracle) + 1)]
    assert found == ["end_0.png", "episode.png", *turns]
    assert all(str(folder / name) in out for name in found)
    assert "verdict: 1 by sokoban" in out


def test_show_takes_a_language(capsys, tmp_path):
    out = said(capsys, "show", "counting", "--seed", 0, "--language", "zh", "--output", tmp_path)
    assert "counting/0/000000-zh" in out


@pytest.mark.parametrize(("off_by", "value"), [(0, "1"), (1, "0")])
def test_play_judges_what_was_typed(capsys, monkeypatch, tmp_path, off_by, value):
    task = make_task(CATEGORIES["counting"], 5, 2)
    typed(monkeypatch, "", task.reference["answer"] + off_by)
    out = said(capsys, "play", "counting", "--seed", 5, "--difficulty", 2, "--output", tmp_path)
    assert f"verdict: {value} by counting" in out
    assert f"right would be: {task.reference['answer']}\n" in out
    assert '"answer": ' in out
    path = tmp_path / "counting_2_000005-zh" / "turn_01_0.png"
    assert str(path) in out
    with Image.open(path) as shown:
        np.testing.assert_array_equal(np.asarray(shown), task.observation.parts[0].data)


def test_play_goes_on_for_several_turns(capsys, monkeypatch, tmp_path):
    category = CATEGORIES["sokoban"]
    oracle = category.oracle(make_task(category, 2, 1))
    typed(monkeypatch, "jump", *map(texts.answer, oracle))
    out = said(capsys, "play", "sokoban", "--seed", 2, "--difficulty", 1, "--output", tmp_path)
    assert "verdict: 1 by sokoban" in out
    assert f"ended: done after {len(oracle) + 1} of at most {category.max_turns}" in out
    assert len(list(tmp_path.rglob("*.png"))) == len(oracle) + 2


@pytest.mark.parametrize("by_file", [False, True])
def test_play_takes_replies_of_several_lines(capsys, monkeypatch, tmp_path, by_file):
    category = CATEGORIES["ui_to_html"]
    (reply,) = category.oracle(make_task(category, 0, 2))
    assert "\n" in reply
    file = tmp_path / "reply.txt"
    file.write_text(reply, encoding="utf-8")
    quoted = ['"""', *reply.split("\n"), '"""']
    typed(monkeypatch, *(["/file missing.txt", f"/file {file}"] if by_file else quoted))
    out = said(capsys, "play", "ui_to_html", "--difficulty", 2, "--output", tmp_path)
    assert "verdict: 1 by ui_to_html" in out
    assert ("No such file" in out) == by_file


@pytest.mark.parametrize("lines", [(), ("up",), ("up", "/quit", "up"), ('"""', "unfinished")])
def test_play_can_be_left(capsys, monkeypatch, tmp_path, lines):
    typed(monkeypatch, *lines)
    out = said(capsys, "play", "maze", "--difficulty", 2, "--output", tmp_path)
    assert f"Left after {int('up' in lines)} turns; nothing was judged" in out
    assert "verdict" not in out


def test_play_can_be_interrupted(capsys, monkeypatch, tmp_path):
    def interrupt(prompt):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    assert "Goodbye" in said(capsys, "play", "maze", "--output", tmp_path)


def test_demonstrations_are_as_many_of_each_as_asked_for(capsys, tmp_path):
    file = tmp_path / "demos.jsonl"
    chosen = ("--categories", "attributes=3,lights_out", "--language", "en")
    told = said(capsys, "demonstrate", *chosen, "--count", 2, "--file", file)
    assert told.startswith("5 demonstrations")
    found = [json.loads(line) for line in file.read_text().splitlines()]
    sources = [one["tags"]["source"] for one in found]
    assert sources == ["attributes", "lights_out"] * 2 + ["attributes"]
    assert len({one["id"] for one in found}) == 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("lst", "Did you mean 'list'?"),
        ("show mazee", "Did you mean 'maze'?"),
        ("play Sokoban", "Did you mean 'sokoban'?"),
        ("report --categories counting,countin", "Did you mean 'counting'?"),
        ("show", "CATEGORY"),
        ("play maze --difficulty 5", "choose from 0, 1, 2, 3, 4"),
        ("play maze --seed -1", "--seed"),
        ("show maze --seed ²", "whole number"),
        ("show maze --seeds 0", "1 or more"),
        ("play maze --language fr", "zh"),
        ("report --frobnicate", "--frobnicate"),
        ("demonstrate --file d.jsonl --categories maze=0", "maze=0"),
        ("demonstrate --file d.jsonl --categories maze,maz=3", "Did you mean 'maze'?"),
        ("", "COMMAND"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        gym.main(arguments.split())
    message = stopped.value.code
    assert message.startswith("error: ")
    assert told in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["list", "show", "play", "report"])
def test_help(capsys, command):
    for arguments in (["--help"], [command, "--help"]):
        with pytest.raises(SystemExit) as stopped:
            gym.main(arguments)
        assert stopped.value.code == 0
    assert f"python -m rl.gym {command}" in capsys.readouterr().out


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report on an episode of several turns, and on answers that are full of tags."""
    folder = tmp_path_factory.mktemp("report")
    arguments = ["--categories", "sokoban, ui_to_html", "--seeds", "1", "--guesses", "10"]
    gym.main(["report", *arguments, "--output", str(folder)])
    return folder


def pages(folder):
    found = {p.stem: html.fromstring(p.read_text(encoding="utf-8")) for p in folder.glob("*.html")}
    assert "index" in found
    return found


def test_links_and_pictures_of_a_report_are_there(written):
    read = pages(written)
    assert set(read) == {"index", "sokoban", "ui_to_html"}
    for page in read.values():
        ids = set(page.xpath("//@id"))
        links = page.xpath("//@href | //@src")
        assert len(links) > 5
        for link in links:
            path, _, fragment = link.partition("#")
            assert fragment in ids or not fragment
            assert not path or (written / path).is_file(), link
        for image in page.xpath("//img"):
            width, height = size(written / image.get("src"))
            given = int(image.get("width", width)), int(image.get("height", height))
            assert given[0] * height == given[1] * width
            assert image.get("alt")
    linked = {link for page in read.values() for link in page.xpath("//@href")}
    drawn = {str(path.relative_to(written)) for path in written.rglob("*.png")}
    assert drawn <= linked


def test_a_report_loads_and_runs_nothing(written):
    for path in written.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        page = html.fromstring(text)
        assert not page.xpath("//script | //iframe | //link | //@onerror | //@onclick")
        assert all("url(" not in style.text for style in page.xpath("//style"))
        assert "prefers-color-scheme: dark" in text
        assert page.xpath("//meta[@name='viewport']")
        (policy,) = page.xpath("//meta[@http-equiv]/@content")
        assert policy.startswith("default-src 'none'")


def test_answers_with_tags_are_text(written):
    page = pages(written)["ui_to_html"]
    category = CATEGORIES["ui_to_html"]
    replies = [pre.text_content() for pre in page.xpath("//pre")]
    assert not page.xpath("//pre/*")
    for difficulty in range(5):
        task = make_task(category, 0, difficulty)
        for one in (category.oracle(task), *category.distractors(task)):
            assert (texts.visible(one[0]) or "(empty)") in replies
        assert task.observation.parts[-1].text in page.text_content()
    assert len(page.xpath("//h1")) == 1


def test_every_verdict_of_a_report_is_shown(written):
    page = pages(written)["sokoban"]
    told = page.xpath("//*[contains(@class, 'verdict')]")
    category = CATEGORIES["sokoban"]
    tasks = [make_task(category, 0, difficulty) for difficulty in range(5)]
    assert len(told) == sum(2 + len(category.distractors(task)) for task in tasks)
    assert all("ms)" in one.text for one in told)
    assert not page.xpath("//*[contains(@class, 'bad')]")
    oracles = page.xpath("//h3[.='right']/following-sibling::div[1]")
    for task, shown in zip(tasks, oracles, strict=True):
        answers = " → ".join(map(texts.answer, category.oracle(task)))
        assert shown.xpath("pre")[0].text == answers
        assert shown.xpath("span")[0].text.startswith(f"1 ({len(category.oracle(task))} turns")


def test_texts_and_pictures_of_a_report_are_in_order(tmp_path):
    report.write([CATEGORIES["photo_match"]], tmp_path, 1, 5)
    article = pages(tmp_path)["photo_match"].xpath("//article")[1]
    task = make_task(CATEGORIES["photo_match"], 0, 1)
    letters = [part.text for part in task.observation.parts[:-1] if isinstance(part, Text)]
    (row,) = article.xpath("div[@class='pictures']")
    assert [one.text_content() for one in row] == ["", *letters]
    widths = [int(one.get("width")) for one in row.xpath(".//img")]
    assert widths == [np.shape(p.data)[1] for p in task.observation.parts if hasattr(p, "data")]
    assert row.getnext().text == task.observation.parts[-1].text


def test_figures_of_a_report(written):
    figures = json.loads((written / "summary.json").read_text(encoding="utf-8"))
    assert (figures["seeds"], figures["guesses"]) == (1, 10)
    assert list(figures["categories"]) == ["sokoban", "ui_to_html"]
    for name, found in figures["categories"].items():
        category = CATEGORIES[name]
        tasks = [make_task(category, 0, difficulty) for difficulty in range(5)]
        wrong = sum(len(category.distractors(task)) for task in tasks)
        assert found["as_expected"]["oracle"] == {"count": 5, "of": 5}
        assert found["as_expected"]["distractor"] == {"count": wrong, "of": wrong}
        again = measures.random_baseline(category, 10)
        assert found["random_mean"] == pytest.approx(again.mean)
        assert found["random_mean_by_difficulty"] == pytest.approx(again.means)
        assert [len(values) for values in again.values] == [2] * 5
        assert found["draw_ms"] > 0
        shown = pages(written)["index"].xpath(f"//tr[td/a[.='{name}']]/td")
        assert shown[1].text == f"{again.mean:.3f}"


def test_what_is_not_as_it_should_be_is_seen(tmp_path):
    """A nasty oracle that is wrong, a distractor that is right, a verifier that fails."""
    counting = CATEGORIES["counting"]

    def score(task, rollout):
        if "crash" in rollout.reply:
            raise VerifierFailed(NASTY)
        return counting.score(task, rollout)

    odd = replace(
        counting,
        name="odd",
        benchmark=NASTY,
        score=score,
        oracle=lambda task: (NASTY,),
        distractors=lambda task: [(boxed(task.reference["answer"]),), ("crash",), ("no",)],
    )
    (found,) = report.write([odd], tmp_path, 1, 5)
    assert found.samples == ()
    assert found.expected == {"oracle": (0, 5), "distractor": (5, 15), "guess": (5, 5)}
    assert found.unexpected == 15
    read = pages(tmp_path)
    assert "15 verdicts are not what they should be" in read["index"].text_content()
    assert len(read["odd"].xpath("//span[contains(@class, 'bad')]")) == 15
    for page in read.values():
        assert not page.xpath("//script | //img[@src='x']")
        assert texts.visible(NASTY) in page.text_content()
    assert texts.visible(NASTY) in read["odd"].xpath("//@title")


def test_errors_are_no_guesses_of_value_0():
    def fail(task, rollout):
        raise VerifierFailed("killed")

    found = measures.random_baseline(replace(CATEGORIES["counting"], score=fail), 5)
    assert found.errors == 5
    assert found.values == ((),) * 5
    assert np.isnan(found.mean)


@settings(max_examples=60)
@given(st.text())
def test_any_text_is_only_text(text):
    element = html.fromstring(str(tag("pre", f"x{text}", title=text)))
    assert not len(element)
    assert element.text == texts.visible(f"x{text}")
    assert element.get("title") == texts.visible(text)


def test_long_texts_are_cut():
    assert texts.visible("9" * 10**6).endswith("… (1000000 characters)")
    assert len(texts.visible("9" * 10**6)) < texts.LONGEST + 40
    assert texts.answer("<think>hm</think>" + boxed(" 3 ")) == "3"
    assert texts.answer(boxed(1) + boxed(2)) == boxed(1) + boxed(2)


def test_every_picture_is_on_a_card():
    """Wide ones made smaller, small ones side by side, an option's letter above its own."""
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    sizes = [(30, 1200), (40, 50), (40, 60)]
    shapes = [
        Picture(np.broadcast_to(np.uint8(c), (*s, 3)).copy())
        for c, s in zip(colours, sizes, strict=True)
    ]
    parts = (shapes[0], Text("A."), shapes[1], Text("B."), shapes[2], Text("Which?"))
    drawn = sheets.card(Observation(parts), "A", "title")
    assert drawn.shape[1] == sheets.sheet.WIDTH
    places = [np.argwhere((drawn == colour).all(-1)) for colour in colours]
    widths = [np.ptp(place[:, 1]) + 1 for place in places]
    assert widths == [sheets.ROOM - 2, 50, 60]
    tops = [place[:, 0].min() for place in places]
    assert tops[1] == tops[2] > tops[0]


def test_words_of_a_card_stay_whole_and_fit():
    text = 'Give “name…” as {"a": 1}, then ' + "9" * 200 + "\n    " + "indented words " * 12
    lines = sheets._broken(text).split("\n")
    assert "".join(lines).replace(" ", "") == text.replace(" ", "").replace("\n", "")
    for line in lines:
        inset = 6 * (len(line) - len(line.lstrip()))
        assert inset + text_width(line.strip(), sheets.sheet.SIZE) <= sheets.ROOM - 8
    pieces = [word for line in lines for word in line.split() if "9" not in word]
    assert pieces == [word for word in text.split() if "9" not in word]
    assert lines[-1].startswith("    indented")
    chinese = "有几个红色圆形？" * 20
    assert sheets._broken(chinese) == chinese


def test_frames_of_a_clip_are_all_there():
    task = make_task(CATEGORIES["shell_game"], 1, 2)
    (clip,) = [part for part in task.observation.parts if hasattr(part, "frames")]
    drawn = pictures.shown(clip)
    first = np.asarray(clip.frames[0])
    np.testing.assert_array_equal(drawn[: len(first), : first.shape[1]], first)
    rows = -(-len(clip.frames) // 4)
    assert len(drawn) >= rows * (len(first) + pictures.CAPTION)


def test_only_the_right_episode_keeps_its_pictures():
    sample = draw_sample(CATEGORIES["maze"], 0, 1)
    right, *others = sample.episodes
    assert right.length == len(right.rollout.turns) == len(right.replies)
    assert right.last.parts
    assert others
    assert all(not one.rollout.turns for one in others)


def test_an_episode_can_be_followed_where_an_event_loop_runs():
    import asyncio

    async def inside():
        category = CATEGORIES["maze"]
        task = make_task(category, 0, 1)
        return follow(category, task, category.oracle(task)).verdict.value

    assert asyncio.run(inside()) == 1
