"""A form on a computer: fill it in as asked and send it; calls of the pc dialect."""

from rl.envs.category import Category
from rl.envs.gui import screen_episodes as episodes

CATEGORY = Category(
    name="gui_form",
    group="gui",
    level="trajectory",
    benchmark="MiniWoB++",
    scale="things to set: 1 … 5; pages: 1 … 3; widgets: 3 … 27",
    draw=episodes.draw_form,
    score=episodes.score,
    oracle=episodes.oracle,
    distractors=episodes.distractors,
    guess=episodes.guess,
    step=episodes.step,
    max_turns=episodes.MAX_TURNS,
)
