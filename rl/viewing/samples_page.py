"""One page with the samples of a run: nothing is loaded, and only the page's own script runs."""

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as Pillow

from mmtp.data.records import Part, Text
from mmtp.data.tokenizer import Tokenizer
from rl.types import Action, Turn
from rl.viewing import pictures, samples, texts
from rl.viewing.markup import Markup, join, tag
from rl.viewing.samples import Judged
from rl.viewing.samples_script import SCRIPT, STYLE
from rl.viewing.style import STYLE as HOUSE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
WIDEST = 900  # pixels of a picture; larger ones are made smaller
COLOURS = ("advantage", "logprob", "version", "none")


class Pictures:
    """The pictures of a page, each kept once."""

    def __init__(self) -> None:
        self._kept: dict[str, Markup] = {}

    def show(self, part: Part) -> Markup:
        """An element that shows a picture, or the frames of a clip."""
        pixels = pictures.shown(part, WIDEST)
        assert pixels is not None
        key = f"p{hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}"
        height, width = pixels.shape[:2]
        if key not in self._kept:
            file = io.BytesIO()
            Pillow.fromarray(pixels).save(file, "PNG")
            url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
            # Not through `tag`, which cuts long texts; base64 needs no escaping.
            image = Markup(f'<image href="{url}" width="{width}" height="{height}"/>')
            self._kept[key] = tag("symbol", image, id=key, viewBox=f"0 0 {width} {height}")
        use = tag("use", href=f"#{key}", width=width, height=height)
        about = {"role": "img", "aria_label": "picture", "class_": "picture"}
        return tag("svg", use, width=width, height=height, viewBox=f"0 0 {width} {height}", **about)

    def store(self) -> Markup:
        """All of them, to be put on the page once."""
        return tag("svg", *self._kept.values(), class_="store", aria_hidden="true")


def write(found: Sequence[Judged], path: str | Path, tokenizer: Tokenizer | None = None) -> None:
    """Writes the page.

    Args:
        found: what to show; see `samples.load`.
        path: of the .html file.
        tokenizer: of the policy; without it replies are not told apart into tokens.
    """
    Path(path).write_text(document(found, tokenizer), encoding="utf-8")


def document(found: Sequence[Judged], tokenizer: Tokenizer | None = None) -> str:
    """The page, as one text."""
    kept = Pictures()
    articles = [_group(group, kept, tokenizer) for group in samples.groups(found)]
    steps = sorted({one.step for one in found})
    title = f"Samples of steps {steps[0]} to {steps[-1]}" if steps else "No samples"
    sources = sorted({one.rollout.task.source for one in found})
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"{POLICY}; script-src 'sha256-{digest}'"
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=Markup(policy)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(HOUSE + STYLE)),
    )
    body = (tag("h1", title), _form(sources), *articles, kept.store())
    script = tag("script", Markup(SCRIPT))
    whole = tag("html", tag("head", *head), tag("body", *body, script), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _form(sources: Sequence[str]) -> Markup:
    choices = [tag("option", "all sources", value="")]
    choices += [tag("option", source, value=source) for source in sources]
    bounds = [
        tag("input", type="number", name=name, step="any", placeholder=name, aria_label=name)
        for name in ("low", "high")
    ]
    return tag(
        "form",
        tag("select", *choices, name="source", aria_label="source"),
        tag("label", "reward ", bounds[0], " … ", bounds[1]),
        tag("label", tag("input", type="checkbox", name="spread"), " rewards differ"),
        tag("input", type="search", name="search", placeholder="search", aria_label="search"),
        tag("label", "colour ", tag("select", *(tag("option", c) for c in COLOURS), name="colour")),
        tag("output", name="count"),
        tag("div", "", id="about", class_="soft"),
    )


def _group(group: Sequence[Judged], kept: Pictures, tokenizer: Tokenizer | None) -> Markup:
    """A question, and all replies to it."""
    task = group[0].rollout.task
    rewards = {one.reward for one in group if one.reward is not None}
    return tag(
        "article",
        tag(
            "div",
            tag("small", f"step {group[0].step}, {task.id}, {task.source}, level {task.level}"),
            *_seen(task.observation.parts, kept),
            class_="asked",
        ),
        tag("p", samples.group_facts(group), class_="soft"),
        tag(
            "details",
            tag("summary", "what the verifier knows"),
            tag("pre", texts.as_json(dict(task.reference))),
        ),
        *(_reply(one, kept, tokenizer) for one in group),
        data_source=task.source,
        data_spread=int(len(rewards) > 1),
    )


def _reply(one: Judged, kept: Pictures, tokenizer: Tokenizer | None) -> Markup:
    """All turns of a rollout, and what was said of it."""
    verdict, reward = one.verdict, one.reward
    mood = "" if reward is None else " good" if reward > 0 else " bad"
    versions = [v for turn in one.rollout.turns for v in turn.action.versions]
    parts = [tag("li", line) for line in samples.parts_of(verdict)]
    said = [texts.told(verdict)] if verdict is not None else []
    return tag(
        "div",
        tag("span", samples.told(one), class_=f"verdict{mood}"),
        *(_turn(turn, number, kept, tokenizer) for number, turn in enumerate(one.rollout.turns)),
        *(tag("details", tag("summary", "verdict"), tag("ul", *parts), *said) for _ in said),
        class_="reply",
        data_reward=None if reward is None else f"{reward:g}",
        data_advantage=None if one.sample is None else f"{one.sample.advantage:.4g}",
        data_newest=max(versions, default=None),
    )


def _turn(turn: Turn, number: int, kept: Pictures, tokenizer: Tokenizer | None) -> Markup:
    """What was seen, but at first, where it is the question; and what was said."""
    seen = _seen(turn.observation.parts, kept) if number else []
    return join(*seen, tag("pre", *_tokens(turn.action, tokenizer)))


def _tokens(action: Action, tokenizer: Tokenizer | None) -> list[Markup]:
    """Each token with its numbers."""
    found = samples.pieces(action, tokenizer)
    if len(found) != len(action.tokens):
        return [tag("i", piece) for piece in found]
    padded = [*action.logprobs, *[None] * (len(found) - len(action.logprobs))]
    versions = [*action.versions, *[None] * (len(found) - len(action.versions))]
    return [
        tag(
            "i",
            piece,
            data_n=number,
            data_id=action.tokens[number],
            data_l=None if logprob is None else f"{logprob:.4g}",
            data_v=version,
        )
        for number, (piece, logprob, version) in enumerate(
            zip(found, padded, versions, strict=True)
        )
    ]


def _seen(parts: Sequence[Part], kept: Pictures) -> list[Markup]:
    """Texts and pictures in order."""
    return [
        tag("div", part.text.strip(), class_="question")
        if isinstance(part, Text)
        else tag("div", kept.show(part), class_="pictures")
        for part in parts
        if not isinstance(part, Text) or part.text.strip()
    ]
