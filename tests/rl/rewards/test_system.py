"""The reward system: recipes by source, local verifiers, limits, and settings that are wrong."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from cogvit_jax.settings import ConfigError
from configs.rl_rewards import rewards as default_section
from rl.envs import CATEGORIES, make_task
from rl.envs.environment import play
from rl.rewards import local
from rl.rewards.reward_settings import read, recipe_of
from rl.rewards.system import RewardSystem, build
from rl.types import Action, Turn, Unverifiable, VerifierFailed
from tests.at_most import at_most
from tests.rl.rewards import cases
from tests.rl.rewards.fake_judge import FakeJudge

URL = "http://127.0.0.1:9/v1"


class Fake:
    """A category whose score is a function."""

    name = "open"

    def __init__(self, score):
        self.score = score


def score(section, rollouts, function=None):
    """Verdicts; `function` is the score of the category "open"."""
    categories = {**CATEGORIES, "open": Fake(function)} if function else CATEGORIES

    async def run():
        async with RewardSystem(read(section), categories) as rewards:
            return await asyncio.gather(*(rewards.score(r) for r in rollouts))

    return asyncio.run(run())


def section(aggregation, *verifiers, **fields):
    return cases.config(URL, aggregation=aggregation, verifiers=verifiers, **fields)


def test_default_config_scores_a_category_by_form_and_rule():
    category = CATEGORIES["attributes"]
    task = make_task(category, 3, 2, "en")
    word = task.reference["answers"][0]
    thought = "<think>I look for the one that is asked for and read off its word.</think>"
    replies = [
        f"{thought}<|begin_of_box|>{word}<|end_of_box|>",
        f"{thought}{word}",
        f"<|begin_of_box|>{word}<|end_of_box|>",
        f"{thought}<|begin_of_box|>nothing<|end_of_box|>",
    ]
    verdicts = score(default_section(), [play(category, task, (reply,)) for reply in replies])
    assert [v.value for v in verdicts] == [1.0, 0.0, 0.0, 0.0]
    assert verdicts[0].verifier == "attributes"
    assert verdicts[1].details["recipe"] == "outcome"
    assert verdicts[1].details["parts"]["rule"]["value"] == 1.0
    assert all(v.seconds > 0 for v in verdicts)


def test_default_config_knows_every_category():
    options = read(default_section())
    assert {recipe_of(options, name)[0] for name in CATEGORIES} == {"outcome"}


def test_recipe_by_tag_then_first_glob_then_default():
    values = {"recipes": {n: {"aggregation": "min", "verifiers": ("format",)} for n in "abcd"}}
    lines = (("gui_*", "a"), ("gui_click", "b"), ("*_click", "c"))
    options = read(values | {"sources": lines, "default": "d"})
    names = [recipe_of(options, tag)[0] for tag in ("gui_click", "gui_type", "my_click", "maze")]
    assert names == ["b", "a", "c", "d"]


def test_unknown_tag_names_itself_and_the_nearest():
    values = {"recipes": {"a": {"aggregation": "min", "verifiers": ("format",)}}}
    values["sources"] = (("counting", "a"), ("maze", "a"))
    with pytest.raises(ConfigError, match=r"'countin' has no recipe.*'counting'"):
        score(values, [cases.rollout(source="countin")])

    async def check():
        async with build(values) as rewards:
            rewards.check(["counting", "maze"])
            rewards.check(["counting", "mase"])

    with pytest.raises(ConfigError, match=r"'mase'.*'maze'"):
        asyncio.run(check())


def test_unknown_category_is_told():
    with pytest.raises(ConfigError, match=r"'atributes' is not known. Did you mean 'attributes'"):
        score(section("first", "rule"), [cases.rollout(category="atributes")])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("recipes.all.aggregation", "product_", "product"),
        ("recipes.all.verifiers", ("rule", "judge:its"), "judge:it"),
        ("recipes.all.verifiers", ("rules",), "'rule'"),
        ("recipes.all.verifiers", ("rule", "rule"), "twice"),
        ("recipes.all.verifiers", (), "1 … 7"),
        ("recipes.all.weights", (1.0, 2.0), "as many"),
        ("recipes.all.weights", (0.0,), "more than 0"),
        ("recipes.all.threshold", 2.0, "0 … 1"),
        ("recipes.all.wieghts", (1.0,), "weights"),
        ("sources", (("*", "al"),), "'all'"),
        ("default", "al", "'all'"),
        ("endpoints.fake.url", "localhost:80", "http://"),
        ("endpoints.fake.key_variable", "NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
        ("endpoints.fake.concurrency", 0, "more than 0"),
        ("judges.it.seats", ("fkae",), "'fake'"),
        ("judges.it.seats", (), "1 … 7"),
        ("judges.it.vote", "median_", "'median'"),
        ("judges.it.prompt", "equivalent", "'equivalence'"),
        ("local", {"soft_length": 9, "hard_length": 9}, "hard_length"),
        ("local", {"chinese": 1.5}, "0 … 1"),
        ("secret_variable", "NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
        ("thread", 3, "threads"),
    ],
)
def test_wrong_settings_name_field_and_remedy(path, value, message):
    values = section("min", "rule")
    *folders, name = path.split(".")
    place = values
    for folder in folders:
        place = place[folder]
    place[name] = value
    with pytest.raises(ConfigError, match=message):
        read(values)


def test_gate_needs_something_behind_it():
    with pytest.raises(ConfigError, match="two or more"):
        read(section("gate", "format"))


def raises(error):
    def function(task, rollout):
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (raises(VerifierFailed("killed")), "error"),
        (raises(ZeroDivisionError()), "error"),
        (raises(Unverifiable("no reference")), "abstain"),
        (lambda task, rollout: float("nan"), "error"),
        (lambda task, rollout: 7.0, "error"),
    ],
)
def test_a_rule_that_fails_is_never_zero(function, kind):
    verdict = score(section("first", "rule"), [cases.rollout()], function)[0]
    assert (verdict.kind, verdict.value) == (kind, None)
    assert verdict.reason.startswith("open: ")


def test_a_rule_that_hangs_is_an_error_and_delays_nobody():
    release = threading.Event()

    def function(task, rollout):
        return float(release.wait(60)) if task.seed == 0 else 1.0

    values = section("first", "rule", rule_seconds=3.0, threads=2)
    started = time.monotonic()
    verdicts = score(values, [cases.rollout(number=i) for i in range(40)], function)
    took = time.monotonic() - started
    release.set()
    assert verdicts[0].kind == "error"
    assert "3.0 s" in verdicts[0].reason
    assert [v.value for v in verdicts[1:]] == [1.0] * 39
    assert took < 20


def test_rules_leave_the_event_loop_free():
    """Four rules, two at a time, end only after the loop has ticked."""
    ticked = threading.Event()

    async def run():
        values = section("first", "rule", threads=2, rule_seconds=90.0)
        slow = Fake(lambda task, rollout: float(ticked.wait(30)))
        async with RewardSystem(read(values), {"open": slow}) as rewards:
            tasks = [asyncio.create_task(rewards.score(cases.rollout())) for _ in range(4)]
            for _ in range(20):
                await asyncio.sleep(0.01)
            ticked.set()
            return await asyncio.gather(*tasks)

    assert [verdict.value for verdict in asyncio.run(run())] == [1.0] * 4


def test_judge_is_not_asked_where_the_rules_decide():
    """With a malformed reply, and with a rule that knows; it is asked where the rule abstains."""

    def function(task, rollout):
        if task.seed == 1:
            raise Unverifiable("free text")
        return 1.0

    with FakeJudge() as server:
        values = cases.config(
            server.url, aggregation="format_times_correctness", verifiers=("format", "judge:it")
        )
        values["recipes"]["open"] = {"aggregation": "first", "verifiers": ("rule", "judge:it")}
        values["sources"] = (("form", "all"), ("*", "open"))
        malformed = cases.rollout("4", source="form", boxes=False)
        verdicts = score(
            values, [malformed, cases.rollout("4"), cases.rollout("5", number=1)], function
        )
        assert server.count == 1
    assert [v.value for v in verdicts] == [0.0, 1.0, 0.0]
    assert verdicts[0].details["parts"]["judge:it"] == {"kind": "skipped"}
    assert verdicts[2].details["parts"]["judge:it"]["votes"] == [0.0]


def said(text, language="en", tokens=0):
    return cases.rollout(text, boxes=False, language=language, tokens=tokens)


THOUGHT = "<think>Let me count the red ones: there are one, two, three of them.</think>"
CHINESE = "<think>我来数一数图里红色的圆形，一共有三个。</think>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{THOUGHT}<|begin_of_box|>3<|end_of_box|>", 1.0),
        (f"{THOUGHT}<answer><|begin_of_box|>3<|end_of_box|></answer>", 1.0),
        ("<|begin_of_box|>3<|end_of_box|>", 0.0),
        ("<think></think><|begin_of_box|>3<|end_of_box|>", 0.0),
        (f"{THOUGHT}3", 0.0),
        (f"{THOUGHT}<|begin_of_box|>3<|end_of_box|><|begin_of_box|>4<|end_of_box|>", 0.0),
        (f"{THOUGHT[:-8]}<|begin_of_box|>3<|end_of_box|>", 0.0),
        ("", 0.0),
    ],
)
def test_format(text, value):
    assert local.form(said(text), local.LocalSettings()).value == value


def test_format_looks_at_every_turn():
    good = said(f"{THOUGHT}<|begin_of_box|>3<|end_of_box|>")
    bad = Turn(good.turns[0].observation, Action("3"))
    both = type(good)(good.task, (bad, *good.turns))
    assert local.form(both, local.LocalSettings()).value == 0.0
    assert local.form(type(good)(good.task, ()), local.LocalSettings()).value == 0.0


@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        (THOUGHT, "en", 1.0),
        (THOUGHT, "zh", 0.0),
        (CHINESE, "zh", 1.0),
        (CHINESE, "en", 0.0),
        (THOUGHT + CHINESE, "en", 0.0),
        (f"{THOUGHT}<|begin_of_box|>招牌上的字是这样写的没有错<|end_of_box|>", "en", 1.0),
        (f"{CHINESE}<|begin_of_box|>a sign in English of many words<|end_of_box|>", "zh", 1.0),
        (f"{CHINESE}```def f(x): return x and not y or z```", "zh", 1.0),
        ("<|begin_of_box|>3<|end_of_box|>", "zh", None),
    ],
)
def test_language(text, language, value):
    assert local.language(said(text, language), local.LocalSettings()).value == value


@pytest.mark.parametrize(("tokens", "value"), [(50, 1.0), (100, 1.0), (150, 0.5), (999, 0.0)])
def test_length_counts_tokens(tokens, value):
    limits = local.LocalSettings(soft_length=100, hard_length=200)
    assert local.length(said("x", tokens=tokens), limits).value == value
    assert local.length(said("x" * 10_000), limits).kind == "abstain"


def test_a_million_characters_take_no_time():
    texts = ["中" * 1_000_000, "<think>" * 200_000, "```" * 300_000, "a " * 500_000]
    with at_most(5):
        for text in texts:
            for verifier in local.VERIFIERS.values():
                verifier(said(text), local.LocalSettings())


def test_import_needs_no_jax():
    code = (
        "import sys, rl.rewards.system, rl.rewards.metrics, rl.curriculum, rl.store\n"
        "assert not {'jax', 'torch', 'tensorflow', 'matplotlib.pyplot'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
