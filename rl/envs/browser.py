"""MiniWoB++ pages in a real browser: screenshots, actions in three dialects, the page's reward.

    with Chromium(pages_folder()) as browser:
        env = BrowserEnvironment(browser, page="click-button")
        observation = env.reset(seed=3)
        done = False
        while not done:
            observation, done = await env.step(policy(observation))
        verdict = await env.verify(env.rollout)

The interface is that of `rl.envs.environment.Environment`. The pages ship in the PyPI package
`miniwob` (MIT; Shi et al. 2017, Liu et al. 2018); its own driver is not used. Rewards are the raw
ones, which do not fall with time: an episode is right where its raw reward is 1, and parts of it,
which some pages give for pressing a button at once, are 0.
"""

import asyncio
import importlib.util
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from mmtp.data.records import Image, Text
from rl.answers import gui
from rl.answers.gui_family import Answer, Finish
from rl.answers.reply import answer_of
from rl.envs.gui.browser_acts import MARKS, STATE, perform, with_marks
from rl.envs.gui.chromium import SECONDS, BrowserMissing, Chromium, missing
from rl.envs.gui.screen_prompts import ACTIONS, GOAL, NOTHING
from rl.types import Action, Json, Observation, Rollout, Task, Turn, Verdict

NAME = "miniwob"
MAX_TURNS, MAX_SECONDS = 20, 300.0
FOREVER = 2**31 - 1  # ms: the longest that a page's timer can wait
# By difficulty: one click, one thing, several things, reading and choosing, long ones.
TIERS = (
    ("click-test", "click-test-2", "click-button", "click-link", "focus-text"),
    ("click-tab", "click-option", "enter-text", "click-color", "focus-text-2", "click-dialog"),
    ("click-checkboxes", "login-user", "enter-password", "click-widget", "choose-list"),
    ("click-tab-2", "read-table", "use-autocomplete", "find-word", "simple-arithmetic"),
    ("login-user-popup", "form-sequence", "email-inbox", "search-engine", "order-food"),
)
_BEGIN = """([seed, forever]) => {
    Math.seedrandom(seed); core.EPISODE_MAX_TIME = forever; core.startEpisodeReal();
}"""


def pages_folder() -> Path:
    """Where the pages are.

    Raises:
        BrowserMissing: the package or the browser is not there.
    """
    if told := missing():
        raise BrowserMissing(told)
    spec = importlib.util.find_spec("miniwob")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "html"


def page_names() -> tuple[str, ...]:
    """All pages of the package."""
    return tuple(sorted(path.stem for path in (pages_folder() / "miniwob").glob("*.html")))


class BrowserEnvironment:
    """An episode on a page.

    Attributes:
        browser: may be shared.
        page: the name of the page; "" = one of TIERS by difficulty and seed.
        dialect: of the actions; "web" puts numbers on what can be clicked.
    """

    def __init__(
        self,
        browser: Chromium,
        page: str = "",
        dialect: str = "pc",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if dialect not in gui.DIALECTS:
            raise ValueError(f"dialect = {dialect!r} is not one of {gui.DIALECTS}")
        self.browser, self.page, self.dialect = browser, page, dialect
        self._clock = clock
        self._rollout: Rollout | None = None
        self._seen = Observation(())
        self._tab: Any = None
        self._marks: list[Json] = []
        self._started = 0.0

    @property
    def rollout(self) -> Rollout:
        """The episode so far; its state holds the page's raw reward.

        Raises:
            RuntimeError: there is none yet.
        """
        if self._rollout is None:
            raise RuntimeError(f"{NAME}: call reset before anything else")
        return self._rollout

    def reset(self, seed: int, difficulty: int = 0, language: str = "en") -> Observation:
        """Loads the page and begins; the same seed has the same goal.

        Raises:
            ValueError: an argument is out of range.
        """
        if seed < 0 or not 0 <= difficulty < len(TIERS):
            raise ValueError(f"seed = {seed} and difficulty = {difficulty} must be 0 or more, < 5")
        page = self.page or TIERS[difficulty][seed % len(TIERS[difficulty])]
        path = self.browser.call(self._load, page, seed)
        goal, picture = path.result(6 * SECONDS)
        told = GOAL[language].format(goal, "")
        text = Text(f"{told}\n{ACTIONS[self.dialect][language]}")
        self._seen = Observation((Image(picture), text))
        task = Task(
            id=f"{NAME}/{page}/{difficulty}/{seed:06d}-{language}",
            category=NAME,
            source=NAME,
            level="trajectory",
            seed=seed,
            difficulty=difficulty,
            language=language,
            observation=self._seen,
            reference={"page": page, "goal": goal, "dialect": self.dialect},
            max_turns=MAX_TURNS,
            max_seconds=MAX_SECONDS,
        )
        self._rollout = Rollout(task, (), {"done": False, "raw_reward": 0.0}, ended="")
        self._started = self._clock()
        return self._seen

    async def step(self, action: Action | str) -> tuple[Observation, bool]:
        """Takes an action in the page. A browser that dies or hangs ends the episode ("abort").

        Raises:
            RuntimeError: the episode has ended.
        """
        rollout = self.rollout
        if rollout.ended:
            raise RuntimeError(f"{rollout.task.id} has ended ({rollout.ended}): call reset")
        action = Action(action) if isinstance(action, str) else action
        turns = (*rollout.turns, Turn(self._seen, action))
        state, ended, seen = rollout.state, "time", Observation(())
        if self._clock() - self._started <= rollout.task.max_seconds:
            try:
                call = self.browser.call(self._act, action.text)
                state, ended, seen = await asyncio.wait_for(asyncio.wrap_future(call), 3 * SECONDS)
            except Exception as problem:  # of the browser, whatever it was
                told = f"{type(problem).__name__}: {str(problem)[:200]}"
                state, ended = {**state, "error": told}, "abort"
        if not ended and len(turns) >= rollout.task.max_turns:
            ended = "turns"
        self._rollout = replace(rollout, turns=turns, state=state, ended=ended)
        self._seen = seen
        return seen, bool(ended)

    async def verify(self, rollout: Rollout) -> Verdict:
        """1 where the page's raw reward is 1; an error where the browser failed."""
        state: Mapping[str, Json] = rollout.state
        if "error" in state:
            return Verdict.error(NAME, state["error"])
        right = bool(state.get("done")) and state.get("raw_reward", 0.0) >= 1
        return Verdict.of(float(right), NAME, raw_reward=state.get("raw_reward", 0.0))

    def close(self) -> None:
        """Closes the page; the browser stays."""
        if self._tab is not None:
            self.browser.call(self._leave).result(SECONDS)

    def _leave(self) -> None:
        tab, self._tab = self._tab, None
        if tab is not None and not tab.is_closed():
            tab.context.close()

    def _load(self, page: str, seed: int) -> tuple[str, np.ndarray]:
        """In the browser's thread: the goal and the first picture."""
        path = pages_folder() / "miniwob" / f"{page}.html"
        if page not in page_names():
            raise ValueError(f"page = {page!r} is not one of MiniWoB++'s")
        self._leave()
        self._tab = self.browser.new_page()
        self._tab.goto(path.as_uri())
        self._tab.wait_for_function("core.cover_div !== null")
        self._tab.evaluate(_BEGIN, [str(seed), FOREVER])
        self._tab.wait_for_function("WOB_TASK_READY")
        return self._tab.evaluate("core.getUtterance()"), self._picture()

    def _act(self, reply: str) -> tuple[Mapping[str, Json], str, Observation]:
        """In the browser's thread: the state afterwards, whether it ended, and what is seen."""
        answer = answer_of(reply)
        action = None if answer is None else gui.parse(answer, self.dialect)
        known = action is not None and perform(self._tab, action, self._marks)
        state = self._tab.evaluate(STATE)
        if state["done"] or isinstance(action, Finish | Answer):
            return state, "done", Observation(())
        note = () if known else (Text(NOTHING[self.rollout.task.language]),)
        return state, "", Observation((Image(self._picture()), *note), role="observation")

    def _picture(self) -> np.ndarray:
        png = self._tab.screenshot(animations="disabled", caret="initial")
        pixels = np.array(Picture.open(io.BytesIO(png)).convert("RGB"))
        if self.dialect != "web":
            return pixels
        self._marks = self._tab.evaluate(MARKS)
        return with_marks(pixels, self._marks)
