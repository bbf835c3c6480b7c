"""Pages in a real browser: scripted oracles, faults, and that nothing outside is reached."""

import asyncio
import http.server
import re
import threading

import numpy as np
import pytest

from mmtp.data.records import Image
from rl.answers import gui
from rl.answers.gui_family import Click, Finish, Press, Wait, Write
from rl.answers.reply import boxed
from rl.envs import browser as browsers
from rl.envs.browser import BrowserEnvironment
from rl.envs.gui import chromium
from rl.envs.gui.chromium import SIZE, BrowserMissing, Chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing() or "all is there"),
    # Playwright's loop in another thread closes its pipes when it is collected.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
# Boxes of the elements that a selector finds, with their texts.
_FIND = """selector => [...document.querySelectorAll(selector)].map(e => {
    const b = e.getBoundingClientRect();
    return [e.textContent.trim(), b.left, b.top, b.right, b.bottom];
})"""


@pytest.fixture(scope="module")
def browser():
    with Chromium(browsers.pages_folder()) as running:
        yield running


def find(env, selector, text=None):
    """The middle of the element with that text, in thousandths."""
    found = env.browser.call(lambda: env._tab.evaluate(_FIND, selector)).result(30)
    _, left, top, right, bottom = next(f for f in found if text is None or f[0] == text)
    return (
        round((left + right) / 2 * 1000 / SIZE[0]),
        round((top + bottom) / 2 * 1000 / SIZE[1]),
    )


def quoted(goal):
    return re.findall(r'"([^"]*)"', goal)


def checkboxes(env, goal):
    names = re.match("Select (.*) and click Submit", goal)[1].split(", ")
    chosen = [] if names == ["nothing"] else names
    return [Click(find(env, "#boxes label", name)) for name in chosen] + submit(env)


def submit(env):
    return [Click(find(env, "#subbtn"))]


def option(env, goal):
    name = re.match("Select (.*) and click Submit", goal)[1]
    return [Click(find(env, "#area label", name)), *submit(env)]


def login(env, goal):
    user, password = quoted(goal)
    fields = [(find(env, "#username"), user), (find(env, "#password"), password)]
    return [a for at, text in fields for a in (Click(at), Write(text))] + submit(env)


ORACLES = {
    "click-test": lambda env, goal: submit(env),
    "click-button": lambda env, goal: [Click(find(env, "#area button", quoted(goal)[0]))],
    "click-link": lambda env, goal: [Click(find(env, "#area span.alink", quoted(goal)[0]))],
    "focus-text": lambda env, goal: [Click(find(env, "#tt"))],
    "enter-text": lambda env, goal: [
        Click(find(env, "#tt")),
        Write("x"),
        Press("backspace"),
        Write(quoted(goal)[0]),
        *submit(env),
    ],
    "click-checkboxes": checkboxes,
    "click-option": option,
    "login-user": login,
    "click-tab": lambda env, goal: [
        Click(find(env, "#area ul a", "Tab #" + re.search("Tab #([0-9])", goal)[1]))
    ],
}


async def run(env, actions):
    done = False
    for action in actions:
        if done:
            break
        _, done = await env.step(boxed(gui.write(action, env.dialect)))
    return await env.verify(env.rollout)


@pytest.mark.parametrize("page", ORACLES)
def test_oracle_has_the_reward(browser, page):
    env = BrowserEnvironment(browser, page)
    for seed in (1, 2):
        observation = env.reset(seed)
        picture = observation.parts[0].data
        assert picture.shape == (SIZE[1] * 2, SIZE[0] * 2, 3)
        assert len(np.unique(picture)) > 5
        actions = ORACLES[page](env, env.rollout.task.reference["goal"])
        verdict = asyncio.run(run(env, actions))
        assert env.rollout.state["raw_reward"] == 1
        assert verdict.value == 1, (env.rollout.task.reference, verdict)
        assert env.rollout.ended == "done"
    env.close()


@pytest.mark.parametrize("page", ["click-button", "enter-text", "login-user", "click-checkboxes"])
def test_what_is_wrong_has_none(browser, page):
    env = BrowserEnvironment(browser, page)
    wrong = {
        "click-button": lambda: [
            Click(at)
            for text in _texts(env, "#area button")
            if text != quoted(env.rollout.task.reference["goal"])[0]
            for at in [find(env, "#area button", text)]
        ],
        "enter-text": lambda: [Click(find(env, "#tt")), Write("nobody"), *submit(env)],
        "login-user": lambda: submit(env),
        "click-checkboxes": lambda: [
            *(Click(find(env, "#boxes label", text)) for text in _texts(env, "#boxes label")),
            *submit(env),
        ],
    }
    env.reset(1)
    actions = [*wrong[page](), Finish(True)]
    assert asyncio.run(run(env, actions)).value == 0
    for ends in ([Finish(True)], [Wait(), Finish(True)]):
        env.reset(1)
        assert asyncio.run(run(env, ends)).value == 0
    env.close()


def _texts(env, selector):
    found = env.browser.call(lambda: env._tab.evaluate(_FIND, selector)).result(30)
    return [f[0] for f in found]


def test_other_dialects(browser):
    env = BrowserEnvironment(browser, "enter-text", dialect="mobile")
    env.reset(5)
    (x, y), (a, b) = find(env, "#tt"), find(env, "#subbtn")
    actions = [Write(quoted(env.rollout.task.reference["goal"])[0], (x - 9, y - 9, x + 9, y + 9))]
    actions.append(Click((a - 9, b - 9, a + 9, b + 9)))
    assert asyncio.run(run(env, actions)).value == 1
    env = BrowserEnvironment(browser, "click-test-2", dialect="web")
    env.reset(5)
    number = next(
        i + 1
        for i, (left, top, right, bottom) in enumerate(env._marks)
        if _inside(find(env, "#subbtn"), (left, top, right, bottom))
    )
    assert asyncio.run(run(env, [Click((number,))])).value == 1


@pytest.mark.parametrize(
    ("page", "selector"),
    [
        ("login-user", "#username, #password, #subbtn"),
        ("email-inbox", ".email-thread .email-sender"),
        ("click-link", "#area span.alink"),
        ("click-checkboxes", "#boxes input, #subbtn"),
        ("click-tab", "#area ul a"),
    ],
)
def test_marks_are_on_what_can_be_used(browser, page, selector):
    env = BrowserEnvironment(browser, page, dialect="web")
    plain = BrowserEnvironment(browser, page).reset(2).parts[0].data
    marked = env.reset(2).parts[0].data
    assert (marked != plain).any()
    found = browser.call(lambda: env._tab.evaluate(_FIND, selector)).result(30)
    boxes = [f[1:] for f in found if (f[2] + f[4]) / 2 < SIZE[1]]
    assert boxes
    for left, top, right, bottom in boxes:
        x, y = (left + right) / 2, (top + bottom) / 2
        assert any(m[0] <= x <= m[2] and m[1] <= y <= m[3] for m in env._marks), (x, y)


def _inside(at, box):
    x, y = at[0] * SIZE[0] / 1000, at[1] * SIZE[1] / 1000
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def test_same_seed_same_goal(browser):
    env = BrowserEnvironment(browser)
    for difficulty in range(5):
        goals = []
        for seed in (3, 3, 4):
            env.reset(seed, difficulty)
            goals.append(env.rollout.task.reference)
        assert goals[0] == goals[1]
        assert goals[0]["page"] != goals[2]["page"]
    first = BrowserEnvironment(browser, "click-button").reset(7).parts[0].data
    assert np.array_equal(BrowserEnvironment(browser, "click-button").reset(7).parts[0].data, first)
    texts = {BrowserEnvironment(browser, "enter-text").reset(s).parts[1].text for s in range(6)}
    assert len(texts) > 3


def test_nonsense_costs_a_turn_and_changes_nothing(browser):
    env = BrowserEnvironment(browser, "click-test")
    env.reset(2)
    actions = ORACLES["click-test"](env, "")

    async def play():
        for said in ("", "click it", "type(content='x') type(content='x')", "9" * 100_000):
            observation, done = await env.step(said)
            assert not done
            assert len(observation.parts) == 2
        return await run(env, actions)

    assert asyncio.run(play()).value == 1
    assert len(env.rollout.turns) == 5
    with pytest.raises(RuntimeError, match="has ended"):
        asyncio.run(env.step("WAIT()"))


def test_nothing_outside_is_reached(browser):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/x"
    env = BrowserEnvironment(browser, "click-test")
    env.reset(1)
    before = len(browser.blocked)
    ask = """async address => {
        const said = [];
        for (const url of [address, 'file:///etc/hostname', 'http://example.com/'])
            await fetch(url).then(() => said.push(url)).catch(() => 0);
        await new Promise(end => {
            const image = new Image(); image.onload = image.onerror = end; image.src = address;
        });
        return said;
    }"""
    assert browser.call(lambda: env._tab.evaluate(ask, address)).result(30) == []
    server.shutdown()
    server.server_close()
    assert asked == []
    assert address in browser.blocked[before:]


def test_pages_ask_for_nothing_outside(browser):
    env = BrowserEnvironment(browser)
    before = len(browser.blocked)
    for difficulty in range(5):
        for seed in range(5):
            env.reset(seed, difficulty)
    assert browser.blocked[before:] == []


def test_time_and_turns_end_an_episode(browser):
    now = [0.0]
    env = BrowserEnvironment(browser, "click-test", clock=lambda: now[0])
    env.reset(1)
    right = ORACLES["click-test"](env, "")
    now[0] = browsers.MAX_SECONDS + 1
    assert asyncio.run(run(env, right)).value == 0
    assert env.rollout.ended == "time"
    env.reset(1)
    assert asyncio.run(run(env, [Click((1, 999))] * 99)).value == 0
    assert env.rollout.ended == "turns"
    assert len(env.rollout.turns) == browsers.MAX_TURNS


def test_a_dead_browser_is_an_error_and_not_a_zero():
    with Chromium(browsers.pages_folder()) as own:
        env = BrowserEnvironment(own, "click-test")
        env.reset(1)
        own.call(lambda: own._browser.close()).result(30)
        verdict = asyncio.run(run(env, [Click((500, 500))]))
        assert verdict.kind == "error"
        assert verdict.value is None
        assert env.rollout.ended == "abort"
        env.reset(2)  # the next episode starts another browser
        assert asyncio.run(run(env, ORACLES["click-test"](env, ""))).value == 1


def test_two_environments_share_a_browser(browser):
    one, other = (BrowserEnvironment(browser, "click-test") for _ in "ab")
    one.reset(1)
    other.reset(2)
    paths = [ORACLES["click-test"](env, "") for env in (one, other)]

    async def both():
        return await asyncio.gather(run(one, paths[0]), run(other, paths[1]))

    assert [verdict.value for verdict in asyncio.run(both())] == [1, 1]


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BrowserMissing, match=r"\.\[browser\].*apt-get install chromium"):
        browsers.pages_folder()


def test_screenshots_are_pictures(browser):
    observation = BrowserEnvironment(browser, "login-user").reset(4)
    assert isinstance(observation.parts[0], Image)
    assert observation.parts[0].data.dtype == np.uint8
