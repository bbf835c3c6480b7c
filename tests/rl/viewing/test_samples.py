"""The browser of samples: everything is on the page, nothing of it is an order to the browser."""

import base64
import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from lxml import html

from cogvit_jax.settings import ConfigError
from mmtp.data.records import Image, Text, Video
from mmtp.data.tokenizer import load_tokenizer
from rl import store, view
from rl.spans import Spans
from rl.types import Action, Observation, Rollout, TrainingSample, Turn, Verdict
from rl.viewing import samples, samples_page
from rl.viewing.samples import Judged
from tests.rl.rewards import cases

NASTY = '</script><script>alert("1")</script><img src=x onerror=y>\x1b[31m'
TOKENIZER = load_tokenizer()


def spoken(text):
    """An action with its tokens; every second one is of a later version."""
    tokens = TOKENIZER.encode(text)
    logprobs = tuple(-0.25 * i for i in range(len(tokens)))
    return Action(text, tuple(tokens), logprobs, tuple(3 + i % 2 for i in range(len(tokens))))


def rollout(text="four 好", number=0, source="open"):
    about = cases.task(number, source=source)
    later = Observation(
        (Text("the tool says"), Image(np.zeros((8, 8, 3), np.uint8))), "observation"
    )
    turns = (Turn(about.observation, spoken("look")), Turn(later, spoken(text)))
    return Rollout(about, turns)


def one(text="four 好", reward=1.0, advantage=0.5, step=7, number=0, source="open"):
    parts = {"math": {"kind": "value", "value": reward}, "judge:it": {"kind": "abstain",
             "reason": NASTY}}  # fmt: skip
    verdict = replace(Verdict.of(reward, "reward"), details={"parts": parts})
    row = TrainingSample("t", source, f"g{number}", (), (), (), (), reward, advantage)
    return Judged(step, rollout(text, number, source), verdict, row)


FOUND = [
    one(),
    one("five", 0.0, -0.5),
    one(NASTY, 0.25, 0.0, number=1, source="ocr"),
    one("six", 0.25, 0.0, step=8, number=1, source="ocr"),
]


def write_run(folder):
    for step in (7, 8):
        items = [
            item
            for found in FOUND
            if found.step == step
            for item in (found.rollout, found.verdict, found.sample)
        ]
        store.write(folder / "rollouts" / f"step_{step:06d}.jsonl", items)


def test_what_a_run_kept_is_read_back(tmp_path):
    write_run(tmp_path)
    found = samples.load(tmp_path)
    assert [(f.step, f.reward, f.group) for f in found] == [
        (f.step, f.reward, f.group) for f in FOUND
    ]
    assert [f.verdict for f in found] == [f.verdict for f in FOUND]
    assert len(samples.load(tmp_path, 8)) == 1
    assert [len(group) for group in samples.groups(found)] == [2, 1, 1]
    with pytest.raises(ConfigError, match="it has steps 7 to 8"):
        samples.load(tmp_path, 9, 12)
    with pytest.raises(ConfigError, match="it has none"):
        samples.load(tmp_path / "other")


def test_rollouts_alone_and_verdicts_alone_are_enough():
    found = samples.judged(3, [rollout(), rollout(), Verdict.error("math", "late")])
    assert [(f.reward, f.group) for f in found] == [(None, rollout().task.id)] * 2
    assert found[1].verdict.kind == "error"
    assert samples.group_facts(found) == "2 rollouts, no rewards"
    assert "no reward" in samples_page.document(found)


def test_facts_of_a_group():
    assert samples.group_facts(FOUND[:2]) == "2 rollouts, reward 0.500 ± 0.500, 0 … 1"
    assert samples.group_facts(FOUND[2:]).endswith("all equal: no gradient")
    assert samples.told(FOUND[0]).startswith("reward 1, advantage +0.5, ")
    assert "versions 3 … 4, done" in samples.told(FOUND[0])


def test_tokens_are_pieces_of_the_text():
    action = spoken("naïve 好😀 text")
    pieces = samples.pieces(action, TOKENIZER)
    assert len(pieces) == len(action.tokens)
    assert "".join(pieces).replace(samples.UNFINISHED, "") == action.text
    assert samples.pieces(action, None) == [action.text]
    cut = replace(action, tokens=tuple(TOKENIZER.encode("😀"))[:1])
    assert samples.pieces(cut, TOKENIZER) == ["\ufffd"]


@pytest.fixture(scope="module")
def page():
    return samples_page.document(FOUND, TOKENIZER)


def test_every_reply_has_its_tokens_numbers_and_verdict(page):
    articles = html.fromstring(page).findall(".//article")
    assert [(a.get("data-source"), a.get("data-spread")) for a in articles] == [
        ("open", "1"),
        ("ocr", "0"),
        ("ocr", "0"),
    ]
    first, second = articles[0].find_class("reply")
    assert (first.get("data-reward"), first.get("data-advantage")) == ("1", "0.5")
    assert first.get("data-newest") == "4"
    tokens = first.findall(".//i")
    actions = [turn.action for turn in FOUND[0].rollout.turns]
    assert [int(t.get("data-id")) for t in tokens] == [i for a in actions for i in a.tokens]
    assert [float(t.get("data-l")) for t in tokens] == [p for a in actions for p in a.logprobs]
    assert [int(t.get("data-v")) for t in tokens] == [v for a in actions for v in a.versions]
    said = first.text_content()
    assert "math 1" in said
    assert "judge:it abstain" in said
    assert "the tool says" in said
    assert "five" in second.text_content()
    assert "Question 0" in articles[0].find_class("asked")[0].text_content()


def test_pictures_are_kept_once(page):
    tree = html.fromstring(page)
    kept = [e.get("id") for e in tree.findall(".//symbol")]
    used = [e.get("href")[1:] for e in tree.findall(".//use")]
    assert len(kept) == len(set(kept)) == 3  # of two tasks, and what the tool shows
    assert len(used) == 3 + 4
    assert set(used) == set(kept)
    assert page.count("data:image/png;base64,") == 3


def test_only_the_pages_own_script_may_run(page):
    tree = html.fromstring(page)
    (script,) = tree.findall(".//script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    (policy,) = [m.get("content") for m in tree.findall(".//meta") if m.get("http-equiv")]
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not tree.findall(".//img")
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", page)
    assert NASTY.replace("\x1b", "␛") in tree.text_content()


def test_a_clip_and_a_page_without_anything():
    frames = tuple(np.full((8, 8, 3), i, np.uint8) for i in range(3))
    seen = Observation((Video(frames, (0.0, 1.0, 2.0)), Text("?")))
    about = replace(cases.task(), observation=seen)
    page = samples_page.document([Judged(1, Rollout(about, (Turn(seen, Action("x")),)))])
    assert page.count("<symbol") == 1
    assert "No samples" in samples_page.document([])


def test_commands(tmp_path, capsys):
    write_run(tmp_path)
    view.main(["samples", "--run", str(tmp_path), "--steps", "7"])
    assert "3 rollouts: " in capsys.readouterr().out
    assert "four" in (tmp_path / "samples_000007_000007.html").read_text()
    view.main(["samples", "--run", str(tmp_path), "--steps", "7-8", "--text"])
    text = capsys.readouterr().out
    assert "== step 8" in text
    assert "< the tool says\n> four 好\nmath 1\n" in text
    assert "\x1b" not in text
    spans = Spans()
    with spans.record("train", "trainer"):
        pass
    spans.save(tmp_path / "rollouts" / "spans.jsonl")
    view.main(["timeline", "--run", str(tmp_path)])
    assert "trainer: 0.0% idle" in capsys.readouterr().out
    assert (tmp_path / "timeline.png").stat().st_size > 1000
    assert (tmp_path / "timeline.trace.json").exists()
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "rl/source/maze/reward_mean": 0.5}\n')
    view.main(["metrics", "--run", str(tmp_path)])
    assert capsys.readouterr().out == f"maze: {tmp_path / 'sources.png'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["samples"], r"error: .*--run.* \(see --help\)"),
        (["samples", "--run", "x", "--steps", "a"], r"'a' is neither a step nor two"),
        (["samples", "--run", "x"], r"error: x/rollouts has no rollouts"),
        (["timeline", "--run", "x"], r"error: .*spans.jsonl"),
        (["metrics", "--run", "x"], r"error: .*metrics.jsonl"),
        (["look"], r"error: .*invalid choice: 'look'"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(SystemExit) as ended:
        view.main(arguments)
    assert re.search(message, str(ended.value))
    assert "\n" not in str(ended.value)
