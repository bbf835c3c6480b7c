"""The pages of a report: one with all figures and contact sheets, and one of each category."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mmtp.data.records import Text
from rl.envs.category import Category, Replies
from rl.types import LEVELS
from rl.viewing import texts
from rl.viewing.episodes import Episode, Sample
from rl.viewing.markup import Markup, join, tag
from rl.viewing.measures import Measured
from rl.viewing.sheets import caption
from rl.viewing.style import STYLE

# Nothing is loaded but pictures beside the page; nothing runs.
POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
NUMBERS = ("random", "oracle = 1", "distractors = 0", "ms per task", "ms per verdict", "turns")
GROWN = 168  # pixels: where no picture of a task is that wide, all are shown larger


def index(found: Sequence[Measured], seeds: int, guesses: int) -> str:
    """The first page: figures of all categories, then their contact sheets."""
    odd = sum(one.unexpected for one in found)
    levels = Counter(one.category.level for one in found)
    said = ", ".join(f"{levels[level]} {level}" for level in LEVELS if levels[level])
    body = join(
        tag("h1", "The gym"),
        tag(
            "p",
            f"{len(found)} categories ({said}). Of each: {seeds} tasks of every difficulty, and "
            f"{guesses} guesses of a policy that is blind but knows the form of the answer.",
        ),
        tag("p", f"{odd} verdicts are not what they should be.", class_="bad") if odd else "",
        _figures(found),
        tag("h2", "Contact sheets"),
        tag("div", *(_thumbnail(one.category) for one in found), class_="gallery"),
    )
    return _document("The gym", body)


def category(
    one: Measured, pictures: Sequence[Mapping[int, Markup]], episodes: Sequence[str]
) -> str:
    """The page of a category.

    Args:
        one: with its samples.
        pictures: elements of each sample's pictures, by their places in its observation.
        episodes: paths of sheets of the oracle's episodes; "" where there is one turn.
    """
    about, baseline = one.category, one.baseline
    facts = {
        "group": about.group,
        "level": about.level,
        "stands for": about.benchmark,
        "difficulty": about.scale,
        "turns": str(about.max_turns),
        "random baseline": join(f"{baseline.mean:.3f}", _bar(baseline.mean)),
        "by difficulty": ", ".join(f"{mean:.2f}" for mean in baseline.means),
        "time": f"{one.draw_ms:.1f} ms per task, {one.judge_ms:.1f} ms per verdict",
    }
    levels = list(dict.fromkeys(sample.task.difficulty for sample in one.samples))
    shown = [
        (sample.task.difficulty, _sample(sample, elements, path))
        for sample, elements, path in zip(one.samples, pictures, episodes, strict=True)
    ]
    sections = (
        join(
            tag("h2", f"Difficulty {level}", id=f"d{level}"),
            *(article for at, article in shown if at == level),
        )
        for level in levels
    )
    links = [tag("a", "All categories", href="index.html")]
    links += [tag("a", "contact sheet", href=f"sheets/{about.name}.png")]
    links += [tag("a", f"difficulty {level}", href=f"#d{level}") for level in levels]
    pairs = (join(tag("dt", key), tag("dd", value)) for key, value in facts.items())
    head = (tag("nav", *links), tag("h1", about.name), tag("dl", *pairs, class_="facts"))
    return _document(f"{about.name} – the gym", join(*head, *sections))


def picture(path: str, size: tuple[int, int], grown: int, alt: str, caption: str = "") -> Markup:
    """A picture beside the page, shown `grown` times as large; leads to the file."""
    image = tag(
        "img",
        src=path,
        width=size[0] * grown,
        height=size[1] * grown,
        alt=alt,
        loading="lazy",
        class_="grown" if grown > 1 else None,
    )
    below = tag("figcaption", caption) if caption else ""
    return tag("figure", tag("a", image, href=path), below)


def _figures(found: Sequence[Measured]) -> Markup:
    """The table of all categories, those of a group below its name."""
    numbers = (tag("th", name, class_="number") for name in NUMBERS)
    rows = [tag("tr", tag("th", "category"), *numbers, tag("th", "level"), tag("th", "benchmark"))]
    for group in dict.fromkeys(one.category.group for one in found):
        members = [one for one in found if one.category.group == group]
        rows.append(tag("tr", tag("td", f"{group} ({len(members)})", colspan=9), class_="group"))
        rows += map(_row, members)
    return tag("div", tag("table", *rows), class_="wide")


def _row(one: Measured) -> Markup:
    about, mean = one.category, one.baseline.mean
    return tag(
        "tr",
        tag("td", tag("a", about.name, href=f"{about.name}.html")),
        tag("td", f"{mean:.3f}", _bar(mean), class_="number"),
        *(_share(*one.expected[kind]) for kind in ("oracle", "distractor")),
        *(tag("td", f"{ms:.1f}", class_="number") for ms in (one.draw_ms, one.judge_ms)),
        tag("td", str(about.max_turns), class_="number"),
        tag("td", about.level),
        tag("td", about.benchmark, class_="text"),
    )


def _share(right: int, of: int) -> Markup:
    return tag("td", f"{right}/{of}", class_="number" if right == of else "number bad")


def _bar(value: float) -> Markup:
    percent = 100 * value if value == value else 0
    return tag("span", tag("i", style=f"width:{percent:.1f}%"), class_="bar")


def _thumbnail(about: Category) -> Markup:
    path = f"sheets/{about.name}.png"
    image = tag("img", src=path, alt=f"Contact sheet of {about.name}", loading="lazy")
    return tag("a", image, tag("span", about.name), href=path)


def _sample(sample: Sample, elements: Mapping[int, Markup], episode_path: str) -> Markup:
    """One task: what is seen, and what is said of each reply."""
    task = sample.task
    others = [episode for episode in sample.episodes if episode.kind == "distractor"]
    parts = [
        tag("small", f"{task.id}, drawn in {1000 * sample.seconds:.1f} ms"),
        *_seen(sample, elements),
        tag("h3", "right"),
        *(_said(episode) for episode in sample.episodes if episode.kind == "oracle"),
        tag("h3", "a blind guess"),
        *(_said(episode) for episode in sample.episodes if episode.kind == "guess"),
        _folded(f"{len(others)} wrong replies", *map(_said, others)),
        _folded("what the verifier knows", tag("pre", texts.as_json(dict(task.reference)))),
    ]
    if task.tools:
        parts.append(_folded(f"{len(task.tools)} tools", tag("pre", texts.as_json(task.tools))))
    if episode_path:
        seen = tag("img", src=episode_path, alt="Every observation", loading="lazy")
        link = tag("div", tag("a", seen, href=episode_path), class_="pictures")
        parts.append(_folded("the right episode, turn by turn", link))
    return tag("article", *parts)


def _seen(sample: Sample, elements: Mapping[int, Markup]) -> list[Markup]:
    """Texts and pictures in order; pictures that follow each other stand in a row."""
    parts, found, row = sample.task.observation.parts, [], []
    language = "zh" if sample.task.language == "zh" else None
    for number, part in enumerate(parts):
        if number in elements:
            row.append(elements[number])
        elif isinstance(part, Text) and part.text.strip() and not caption(parts, number + 1):
            found += [_in_row(row), tag("div", part.text.strip(), class_="question", lang=language)]
            row = []
    return [*found, _in_row(row)]


def _in_row(elements: Sequence[Markup]) -> Markup:
    return tag("div", *elements, class_="pictures") if elements else Markup()


def _said(episode: Episode) -> Markup:
    """Replies, and the verdict on them."""
    verdict = episode.verdict
    value = verdict.kind if verdict.value is None else f"{verdict.value:g}"
    ended = episode.rollout.ended or "not ended"
    turns = f"{episode.length} turns, {ended}, " if len(episode.replies) > 1 else ""
    told = f"{value} ({turns}{1000 * verdict.seconds:.1f} ms)"
    mood = "" if episode.kind == "guess" and episode.expected else " good"
    mood = mood if episode.expected else " bad"
    title = verdict.reason or None
    return tag(
        "div",
        tag("pre", _replies(episode.replies)),
        tag("span", told, class_=f"verdict{mood}", title=title),
        class_="said",
    )


def _replies(replies: Replies) -> str:
    """One reply as it is; several as answers in a row."""
    if len(replies) == 1:
        return texts.visible(replies[0]) or "(empty)"
    return " → ".join(texts.answer(reply) for reply in replies) or "(no reply)"


def _folded(title: str, *children: str) -> Markup:
    return tag("details", tag("summary", title), *children)


def _document(title: str, body: Markup) -> str:
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    whole = tag("html", tag("head", *head), tag("body", body), lang="en")
    return f"<!doctype html>\n{whole}\n"
