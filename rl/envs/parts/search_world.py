"""A small world of pages: companies with emblems, their founders, the towns these were born in.

Which founder a company has only the picture on its page tells, and a town's sign only the town's
picture: words alone lead from no company to a founder.
"""

import json
import re
from collections.abc import Mapping

import numpy as np

from cogvit_jax.data.rendering.canvas import (
    BLACK,
    WHITE,
    largest_size,
    mix,
    new_sheet,
    pick,
    pick_some,
)
from mmtp.data.tasks import scenes
from rl.types import Json

World = dict[str, dict[str, Json]]
Rng = np.random.Generator

FIRST_NAMES = ("Ada", "Ben", "Cora", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jon", "Kim",
               "Leo", "Mia", "Nils", "Olga", "Paul", "Rosa", "Sam", "Tina", "Uwe")  # fmt: skip
STARTS = ("Bra", "Cor", "Dal", "Fen", "Gor", "Hal", "Kel", "Lor", "Mar", "Nor", "Pel", "Ros", "Sal",
          "Tor", "Vel", "Wes")  # fmt: skip
ENDS = {
    "company": ("tec", "lux", "max", "dex", "via", "nova"),
    "person": ("berg", "son", "mann", "ley", "win", "dale"),
    "town": ("ton", "ford", "ham", "port", "wick", "bury"),
}
TEXTS = {
    "en": {
        "company": "{title} makes {thing}. The company was founded in {fact} and has its seat in "
        "{place}.",
        "person": "{title} was born in {fact} in {place} and liked {thing}.",
        "town": "{title} is a town on the river {thing}. {fact} people live there.",
    },
    "zh": {
        "company": "{title}生产{thing}。公司成立于{fact}年，总部在{place}。",
        "person": "{title}于{fact}年生于{place}，喜欢{thing}。",
        "town": "{title}是{thing}河边的一个镇，有{fact}名居民。",
    },
}
THINGS = {
    "en": ("lamps", "boats", "maps", "clocks", "tea", "paper", "bicycles", "bread"),
    "zh": ("灯", "船", "地图", "钟", "茶", "纸", "自行车", "面包"),
}
MAX_RESULTS = 5


def build(rng: Rng, companies: int, language: str) -> World:
    """Pages by id: as many founders and towns as companies."""
    emblems = scenes.different(rng, companies, "pair")
    words = {kind: _words(rng, kind, companies) for kind in ENDS}
    founders = pick_some(rng, FIRST_NAMES, companies)
    people = [f"{f} {w}" for f, w in zip(founders, words["person"], strict=True)]
    ids = [f"p{i:02d}" for i in rng.permutation(3 * companies) + 10]
    years = rng.choice(np.arange(1820, 1990), 2 * companies, replace=False).tolist()
    crowds = rng.choice(np.arange(200, 9000), companies, replace=False).tolist()
    signs = rng.choice(np.arange(100, 1000), companies, replace=False).tolist()
    born = rng.permutation(companies).tolist()
    seats = rng.integers(0, companies, companies).tolist()
    world: World = {}
    for i in range(companies):
        world[ids[3 * i]] = {
            **_page("company", words["company"][i], years[i], words["town"][seats[i]]),
            "emblem": list(emblems[i]),
            "sign": people[i],
        }
        place = words["town"][born[i]]
        world[ids[3 * i + 1]] = _page("person", people[i], years[companies + i], place)
        town = _page("town", words["town"][i], crowds[i], "")
        world[ids[3 * i + 2]] = {**town, "sign": str(signs[i])}
    for page in world.values():
        form = TEXTS[language][page["kind"]]
        rivers = page["kind"] == "town"
        thing = pick(rng, STARTS) + "a" if rivers else pick(rng, THINGS[language])
        page["text"] = form.format(**page, thing=thing)
    return dict(sorted(world.items()))


def chain(world: World, number: int) -> list[str]:
    """Ids of a company, its founder, and the town where the founder was born."""
    company = [key for key, page in world.items() if page["kind"] == "company"][number]
    person = _titled(world, world[company]["sign"])
    return [company, person, _titled(world, world[person]["place"])]


def by_text(world: World, query: str) -> str:
    """Pages that share words with a query, the rarer the words the better."""
    asked = set(_tokens(query[:200])[:20])
    tokens = {key: set(_tokens(f"{p['title']} {p['text']}")) for key, p in world.items()}
    weight = {word: 1 / sum(word in found for found in tokens.values()) for word in asked
              if any(word in found for found in tokens.values())}  # fmt: skip
    scores = {key: sum(weight.get(w, 0) for w in asked & found) for key, found in tokens.items()}
    best = sorted((key for key in world if scores[key] > 0), key=lambda key: (-scores[key], key))
    return _results(world, best[:MAX_RESULTS])


def by_emblem(world: World, emblem: list[str] | None) -> str:
    """Companies with this emblem, then those that share its shape or its colour."""
    shared = {
        key: sum(a == b for a, b in zip(page["emblem"], emblem or (), strict=False))
        for key, page in world.items()
        if "emblem" in page
    }
    best = sorted((key for key in shared if shared[key]), key=lambda key: (-shared[key], key))
    return _results(world, best[:MAX_RESULTS])


def emblem(pair: list[str]) -> np.ndarray:
    """A company's emblem."""
    kind, colour = pair
    return scenes.draw([scenes.Shape(kind, colour, (28.0, 28.0), 18.0)], (56, 56), WHITE)


def picture(page: Mapping[str, Json]) -> np.ndarray:
    """The picture on a page: with an emblem and the founder's name, a sign, or a plain scene."""
    sky, ground = (214, 232, 245), (150, 180, 130)
    sheet = new_sheet((224, 112), sky)
    sheet.box((0, 84, 224, 112), ground)
    if page["kind"] == "person":
        sheet.disc((112, 48), 16, (236, 200, 170))
        sheet.box((90, 66, 134, 112), (90, 110, 160), None, 10)
        return sheet.pixels()
    sheet.box((24, 16, 200, 96), mix(WHITE, (200, 190, 170), 0.6), (120, 110, 100))
    if page["kind"] == "company":
        kind, colour = page["emblem"]
        scenes.draw_shape(sheet, scenes.Shape(kind, colour, (112.0, 40.0), 18.0))
    else:
        for x in (50, 90, 134, 174):
            sheet.box((x - 10, 26, x + 10, 50), (120, 150, 190))
    sheet.box((36, 66, 188, 90), WHITE, BLACK)
    sign = f"Founder: {page['sign']}" if page["kind"] == "company" else page["sign"]
    size = largest_size([sign], 146, range(16, 10, -1))
    sheet.text((112, 78), sign, size, BLACK, "mm")
    return sheet.pixels()


def dump(value: Json) -> str:
    """As JSON."""
    return json.dumps(value, ensure_ascii=False)


def _page(kind: str, title: str, fact: int, place: str) -> dict[str, Json]:
    return {"kind": kind, "title": title, "fact": str(fact), "place": place}


def _words(rng: Rng, kind: str, count: int) -> list[str]:
    every = [start + end for start in STARTS for end in ENDS[kind]]
    return pick_some(rng, every, count)


def _titled(world: World, title: str) -> str:
    return next(key for key, page in world.items() if page["title"] == title)


def _tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]", text.lower())


def _results(world: World, keys: list[str]) -> str:
    lines = [f"{key} | {world[key]['title']} | {world[key]['text'][:40]}…" for key in keys]
    return "\n".join(lines) or "nothing found"
