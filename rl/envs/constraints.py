"""Describe a picture under constraints on the form, all of which are checked, as is one fact."""

from collections.abc import Mapping

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks import scenes
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.parts import statements
from rl.envs.parts.search_world import dump
from rl.rewards.rules import constraints as rule
from rl.types import Json, Task

ASKS = {
    "en": "Describe the picture. One of your sentences must be “{gap}”, rightly filled in. Also:"
    "\n{lines}",
    "zh": "描述这张图。其中一句必须是“{gap}”，并正确填空。此外：\n{lines}",
}
SAY: dict[str, dict[str, str]] = {
    "en": {
        "words": "Use {least} to {most} words.",
        "include": "Use the word “{word}” at least {times} times.",
        "exclude": "Do not use: {words}.",
        "bullets": "Write exactly {count} lines, each beginning with “- ”, and nothing else.",
        "sentences": "Write exactly {count} sentences.",
        "lines": "Write exactly {count} lines.",
        "starts": "Begin with “{text}”.",
        "ends": "End with “{text}”.",
        "json": "Answer with a JSON object with exactly the keys {keys}; all values are texts.",
        "language": "Write in English alone.",
        "lower": "Use no capital letters.",
    },
    "zh": {
        "words": "使用{least}到{most}个字（英文单词和数字各算一个字）。",
        "include": "“{word}”至少出现{times}次。",
        "exclude": "不要出现：{words}。",
        "bullets": "正好写{count}行，每行以“- ”开头，没有其他内容。",
        "sentences": "正好写{count}句。",
        "lines": "正好写{count}行。",
        "starts": "以“{text}”开头。",
        "ends": "以“{text}”结尾。",
        "json": "回答一个JSON对象，键正好是{keys}，值都是文字。",
        "language": "只用中文，不出现拉丁字母。",
    },
}
FILLERS = {
    "en": (
        "It is a simple scene", "All of it is drawn with clear edges", "Nothing moves here",
        "The ground is plain and light", "There is enough room between things",
        "I like how calm it looks", "A child could have made it",
    ),
    "zh": (
        "画面很简单", "所有边缘都很清楚", "这里没有东西在动", "背景平整而明亮",
        "它们之间有足够的空隙", "看起来很安静", "小孩也能画出来",
    ),
}  # fmt: skip
INCLUDED = {"en": ("simple", "indeed", "calm", "quite"), "zh": ("简单", "确实", "安静", "整齐")}
EXCLUDED = {
    "en": ("picture", "image", "shape", "also", "see", "very", "photo"),
    "zh": ("图片", "图像", "还有", "看到", "非常", "照片", "以及"),
}
STARTS = {"en": ("Look: ", "Note - ", "Well, "), "zh": ("请看：", "注意，", "好的，")}
ENDS = {"en": ("That is all.", "Over.", "The end."), "zh": ("就这些。", "完。", "到此为止。")}
KEYS = ("summary", "details", "mood", "title")


def draw(context: Draw) -> Drawn:
    """A fact to be filled in, a form, and further constraints that some text meets."""
    rng, difficulty, language = context
    shapes, picture = statements.scene(rng, 2 + difficulty)
    gap, facts = _fact(rng, shapes, language)
    form = pick(rng, ("sentences", "bullets", "lines", "json") if difficulty else ("sentences",))
    rules, text = _compose(rng, difficulty, language, form, facts[0])
    lines = "\n".join(f"{i}. {_say(r, language)}" for i, r in enumerate(rules, 1))
    question = ASKS[language].format(gap=gap, lines=lines)
    reference = {"facts": facts, "constraints": rules, "text": text}
    return Drawn((Image(picture), Text(question)), reference)


def oracle(task: Task) -> Replies:
    """A text that meets all."""
    return (boxed(task.reference["text"]),)


def distractors(task: Task) -> list[Replies]:
    """The fact wrong, missing, hedged; the form alone; one constraint broken after another."""
    reference = task.reference
    text, (right, *others) = reference["text"], reference["facts"]
    lower = any(r["kind"] == "lower" for r in reference["constraints"])
    if lower:
        right, others = right.lower(), [other.lower() for other in others]
    wrong = [text.replace(right, other) for other in others[:3]]
    wrong += [text.replace(right, "___"), right[:-1], "", "\n".join([right, *others])]
    wrong += [broken for r in reference["constraints"] if (broken := _broken(text, r)) is not None]
    return [(boxed(answer),) for answer in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """The right form around any of the facts."""
    text, facts = task.reference["text"], task.reference["facts"]
    fact = pick(rng, facts)
    if facts[0] not in text:
        return (boxed(text.replace(facts[0].lower(), fact.lower())),)
    return (boxed(text.replace(facts[0], fact)),)


def _fact(
    rng: np.random.Generator, shapes: list[scenes.Shape], language: str
) -> tuple[str, list[str]]:
    """A sentence with a gap, and it filled in with every word: first the right one."""
    shape, forms = pick(rng, shapes), statements.FORMS[language]
    colours = [scenes.colour_name(key, language) for key in scenes.COLOURS]
    kinds = [scenes.SHAPES[key].of(language) for key in scenes.KINDS]
    colour = scenes.colour_name(shape.colour, language)
    kind = scenes.SHAPES[shape.kind].of(language)
    asked = pick(rng, ("colour", "kind", "count"))
    if asked == "count":
        right, words, given = str(len(shapes)), [str(n) for n in range(1, 9)], {}
        form, gap = forms["count"], forms["count"].format(n="___")
        filled = {word: form.format(n=word) for word in words}
    else:
        form = forms[asked]
        right, words = (colour, colours) if asked == "colour" else (kind, kinds)
        given = {"kind": kind} if asked == "colour" else {"colour": colour}
        gap = form.format(**{**given, asked: "___"})
        filled = {word: form.format(**{**given, asked: word}) for word in words}
    others = [filled[word] for word in words if word != right]
    bare = [text[:-1] for text in (filled[right], *others)]
    return gap, bare


def _compose(
    rng: np.random.Generator, difficulty: int, language: str, form: str, fact: str
) -> tuple[list[dict[str, Json]], str]:
    """Constraints, and a text that meets them."""
    stop = "." if language == "en" else "。"
    count = int(rng.integers(2, 4 + difficulty // 2))
    parts = [fact, *pick_some(rng, FILLERS[language], count - 1)]
    kinds = pick_some(rng, ("include", "exclude", "language", "words"), min(difficulty, 4))
    rules: list[dict[str, Json]] = []
    if "include" in kinds:
        word = pick(rng, INCLUDED[language])
        rules.append({"kind": "include", "word": word, "times": 1 + difficulty // 3})
        joint = " " if language == "en" else "，"
        parts[-1] += joint + joint.join([word] * (1 + difficulty // 3))
    parts = [parts[i] for i in rng.permutation(count)]
    keys: list[str] = sorted(pick_some(rng, KEYS, min(count, len(KEYS))))
    text = _formed(form, parts, keys, stop)
    if form == "json":
        rules.insert(0, {"kind": "json", "keys": keys})
    else:
        rules.insert(0, {"kind": form, "count": count})
    if form in ("sentences", "lines") and difficulty:
        if parts[0] != fact:
            start = pick(rng, STARTS[language])
            text = start + text
            rules.append({"kind": "starts", "text": start.strip()})
        end = pick(rng, ENDS[language])
        text = text + (" " if language == "en" else "") + end
        rules.append({"kind": "ends", "text": end})
        rules[0]["count"] += form == "sentences"
    if "exclude" in kinds:
        unused = ({"kind": "exclude", "words": [word]} for word in EXCLUDED[language])
        allowed = [each["words"][0] for each in unused if rule.holds(text, each)]
        rules.append({"kind": "exclude", "words": sorted(pick_some(rng, allowed, 2))})
    if "language" in kinds and (form != "json" or language == "en"):
        rules.append({"kind": "language", "language": language})
    if language == "en" and difficulty >= 3 and "ends" not in {r["kind"] for r in rules}:
        text = text.lower()
        rules.append({"kind": "lower"})
    if "words" in kinds:
        n, slack = rule.num_words(text), 6 - difficulty
        least, most = n - int(rng.integers(0, slack + 1)), n + int(rng.integers(0, slack + 1))
        rules.append({"kind": "words", "least": least, "most": most})
    return rules, text


def _formed(form: str, parts: list[str], keys: list[str], stop: str) -> str:
    if form == "bullets":
        return "\n".join(f"- {part}{stop}" for part in parts)
    if form == "lines":
        return "\n".join(part + stop for part in parts)
    if form == "sentences":
        return (" " if stop == "." else "").join(part + stop for part in parts)
    values = [part + stop for part in parts[: len(keys) - 1]]
    values.append((stop + " ").join(parts[len(keys) - 1 :]) + stop)
    return dump(dict(zip(keys, values, strict=True)))


def _say(constraint: Mapping[str, Json], language: str) -> str:
    joint = ", " if language == "en" else "、"
    listed = {k: joint.join(v) if isinstance(v, list) else v for k, v in constraint.items()}
    return SAY[language][constraint["kind"]].format(**listed)


def _broken(text: str, constraint: Mapping[str, Json]) -> str | None:
    """The text with one constraint broken and the fact kept."""
    other = "文" if text.isascii() else "x"
    joint = "\n" if "\n" in text else " "
    broken = {
        "words": lambda: text + " 9" * (constraint["most"] + 1),
        "include": lambda: text.replace(constraint["word"], "-"),
        "exclude": lambda: text.replace(text[-1], f"{joint}- {constraint['words'][0]}{text[-1]}"),
        "bullets": lambda: text.replace("- ", "", 1),
        "sentences": lambda: text + " 9.",
        "lines": lambda: text + "\n9.",
        "ends": lambda: text + " 9",
        "starts": lambda: "9 " + text,
        "json": lambda: text[:-1],
        "language": lambda: text[:-1] + other + text[-1],
        "lower": lambda: text[:-1] + "X" + text[-1],
    }
    changed = broken[constraint["kind"]]()
    return None if rule.holds(changed, constraint) else changed


CATEGORY = Category(
    name="constraints",
    group="instructions",
    level="step",
    benchmark="IFEval, MM-IFEval",
    scale="constraints: 1 … 6, narrower ones, and more shapes in the picture",
    draw=draw,
    score=by_answer(rule.constraints),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
