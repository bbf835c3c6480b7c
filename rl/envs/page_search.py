"""Answer a question about a picture by searching pages, some of whose facts only pictures show.

An emblem leads to a company, a picture on the company's page to its founder, and so on. The answer
names the pages that it rests on: all of them must have been opened, and no other be named.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from cogvit_jax.data.rendering.canvas import pick
from mmtp.data.records import Image, Part, Text
from rl.answers.calls import Call, write_call
from rl.answers.json_answer import parse_json
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, Step
from rl.envs.parts import search_world, tool_turns
from rl.envs.parts.tool_schemas import OPEN_PAGE, SEARCH_IMAGE, SEARCH_TEXT
from rl.rewards.rules.text import normalise
from rl.types import Json, Rollout, Task

FIRST = "mm://img_0"
ASKS = {
    "en": (
        "In which year was the company with this emblem (mm://img_0) founded?",
        "In which year was the founder of the company with this emblem (mm://img_0) born?",
        "In which year was the founder of the company with this emblem (mm://img_0) born?",
        "How many people live in the town where the founder of the company with this emblem "
        "(mm://img_0) was born?",
        "Which number is on the sign in the picture of the town where the founder of the company "
        "with this emblem (mm://img_0) was born?",
    ),
    "zh": (
        "使用此标志（mm://img_0）的公司成立于哪一年？",
        "使用此标志（mm://img_0）的公司的创始人生于哪一年？",
        "使用此标志（mm://img_0）的公司的创始人生于哪一年？",
        "使用此标志（mm://img_0）的公司的创始人出生的镇有多少居民？",
        "使用此标志（mm://img_0）的公司的创始人出生的镇，其图片里牌子上的数字是多少？",
    ),
}
FORM = {
    "en": 'Search with the tools. Answer as JSON: {"answer": "…", "pages": [ids of all pages that '
    "the answer rests on]}.",
    "zh": '用工具搜索。以JSON回答：{"answer": "…", "pages": [得出答案所依据的全部页面的编号]}。',
}


def draw(context: Draw) -> Drawn:
    """A world of pages, and one of its companies."""
    rng, difficulty, language = context
    world = search_world.build(rng, companies=4 + 2 * difficulty, language=language)
    chain = search_world.chain(world, int(rng.integers(4 + 2 * difficulty)))
    pages = chain[: (1, 2, 2, 3, 3)[difficulty]]
    page = world[pages[-1]]
    answer = page["fact"] if difficulty < 4 else page["sign"]
    picture = search_world.emblem(world[pages[0]]["emblem"])
    reference = {"world": world, "answer": answer, "pages": pages}
    text = f"{ASKS[language][difficulty]}\n{FORM[language]}"
    tools = (SEARCH_TEXT, SEARCH_IMAGE, OPEN_PAGE)
    return Drawn((Image(picture), Text(text)), reference, {"opened": []}, tools)


def step(task: Task, state: Mapping[str, Json], reply: str) -> Step:
    """Searches and opens pages until an answer is given."""
    return tool_turns.turn(state, reply, task.tools, partial(_use, task))


def score(task: Task, rollout: Rollout) -> float:
    """1 where answer and pages are right and all these pages were opened, else 0."""
    said = parse_json(tool_turns.final_answer(rollout) or "", 500, 2)
    if not isinstance(said, dict) or set(said) != {"answer", "pages"}:
        return 0.0
    answer, pages = said["answer"], said["pages"]
    if isinstance(answer, bool) or not isinstance(answer, str | int) or not isinstance(pages, list):
        return 0.0
    right = normalise(str(answer)) == normalise(task.reference["answer"])
    wanted = sorted(task.reference["pages"])
    cited = len(pages) == len(wanted) and sorted(map(str, pages)) == wanted
    opened = all(page in rollout.state["opened"] for page in wanted)
    return float(right and cited and opened)


def oracle(task: Task) -> Replies:
    """Each hop in turn: by the picture to the company, by name to the founder and the town."""
    world, pages = task.reference["world"], task.reference["pages"]
    replies = [write_call("zai_search_web_by_image", {"image": FIRST}), _open(pages[0])]
    for page in pages[1:]:
        replies += [_search(world[page]["title"]), _open(page)]
    return (*replies, _answer(task.reference["answer"], pages))


def distractors(task: Task) -> list[Replies]:
    """Right words without a look, without a page or with one too many; a neighbour's answer."""
    gold, pages = task.reference["answer"], task.reference["pages"]
    world = task.reference["world"]
    looks = oracle(task)[:-1]
    other = next(
        p for p in world if p not in pages and world[p]["kind"] == world[pages[-1]]["kind"]
    )
    return [
        (_answer(gold, pages),),
        (*looks[:-1], _answer(gold, pages)),
        (*looks, _answer(gold, [])),
        (*looks, _answer(gold, pages[:-1])),
        (*looks, _answer(gold, [*pages, other])),
        (*looks, _answer(gold, [*pages, pages[0]])),
        (*looks, _answer(gold, list(world))),
        (*looks, _answer(world[other]["fact"] + "0", pages)),
        (*looks, _answer(f"{gold} {world[other]['fact']}", pages)),
        (*looks, _answer("", pages)),
        (*looks, boxed(gold)),
        (*looks, boxed(f"{gold} {pages}")),
        (_search("x"),) * task.max_turns,
    ]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """Opens some pages and answers with one's number."""
    world = task.reference["world"]
    pages = [pick(rng, list(world)) for _ in task.reference["pages"]]
    return (*map(_open, pages), _answer(world[pages[-1]]["fact"], pages))


def _open(page: str) -> str:
    return write_call("zai_read_webpage", {"page": page})


def _search(query: str) -> str:
    return write_call("zai_search_web_text", {"query": query})


def _answer(answer: str, pages: list[str]) -> str:
    return boxed(search_world.dump({"answer": answer, "pages": pages}))


def _use(
    task: Task, state: Mapping[str, Json], call: Call
) -> tuple[Mapping[str, Json], tuple[Part, ...]]:
    world = task.reference["world"]
    if call.name == "zai_search_web_text":
        return state, (Text(search_world.by_text(world, call.arguments["query"])),)
    if call.name == "zai_read_webpage":
        page = call.arguments["page"]
        if page not in world:
            raise ValueError("there is no such page")
        opened = state["opened"] if page in state["opened"] else [*state["opened"], page]
        entry = world[page]
        text = Text(f"{entry['title']}\n{entry['text']}\nmm://{page}:")
        return {"opened": opened}, (text, Image(search_world.picture(entry)))
    handle = call.arguments["image"]
    shown = task.reference["pages"][0] if handle == FIRST else handle.removeprefix("mm://")
    if shown not in world or (handle != FIRST and shown not in state["opened"]):
        raise ValueError("there is no such picture yet")
    return state, (Text(search_world.by_emblem(world, world[shown].get("emblem"))),)


CATEGORY = Category(
    name="page_search",
    group="tools",
    level="trajectory",
    benchmark="MMSearch, BrowseComp-VL, ImageMining",
    scale="hops: 1 … 3, pages: 12 … 36, and facts that only pictures show",
    draw=draw,
    score=score,
    oracle=oracle,
    distractors=distractors,
    guess=guess,
    step=step,
    max_turns=10,
)
