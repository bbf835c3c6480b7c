"""A telephone: change settings or find a number; JSON actions, scrolling, pages."""

from rl.envs.category import Category
from rl.envs.gui import screen_episodes as episodes

CATEGORY = Category(
    name="gui_mobile",
    group="gui",
    level="trajectory",
    benchmark="AndroidWorld",
    scale="things to set: 1 … 5; pages: 1 … 3, which scroll from 2 on",
    draw=episodes.draw_mobile,
    score=episodes.score,
    oracle=episodes.oracle,
    distractors=episodes.distractors,
    guess=episodes.guess,
    step=episodes.step,
    max_turns=episodes.MAX_TURNS,
)
