"""Web pages: set what is asked, over several pages, then answer; a set of marks."""

from rl.envs.category import Category
from rl.envs.gui import screen_episodes as episodes

CATEGORY = Category(
    name="gui_web",
    group="gui",
    level="trajectory",
    benchmark="WebVoyager, VisualWebArena",
    scale="things to set: 1 … 5; pages: 1 … 3; marks: 3 … 40",
    draw=episodes.draw_web,
    score=episodes.score,
    oracle=episodes.oracle,
    distractors=episodes.distractors,
    guess=episodes.guess,
    step=episodes.step,
    max_turns=episodes.MAX_TURNS,
)
