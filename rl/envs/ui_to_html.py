"""Write the HTML of a page from its picture."""

import numpy as np

from cogvit_jax.data.rendering.canvas import WHITE, mix, pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import PALETTE
from rl.answers import colours
from rl.answers.html_page import attributes, parse_page
from rl.answers.markup import escape
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.gui import screen_words as words
from rl.rewards.rules import pictures
from rl.rewards.rules.web_pages import paint
from rl.types import Task

WIDTHS = (168, 224, 280, 364, 448)  # pixels, by difficulty
_ASK = {
    "en": "Write this page, {width} pixels wide, as HTML: one <body> with h1, h2, p, button, "
    "input (value), ul and li, hr, and div. In style only background, color, height, padding, "
    "text-align:center and display:flex (children side by side, equally wide); colours as "
    "#rrggbb. Answer with the code only.",
    "zh": "把这个宽{width}像素的网页写成HTML：一个<body>，其中可用h1、h2、p、button、"
    "input（value）、ul和li、hr、div；style只用background、color、height、padding、text-align:center和display:flex"
    "（子元素并排，一样宽），颜色写成#rrggbb。只回答代码。",
}  # fmt: skip


class _Words:
    """Words that are on the page once."""

    def __init__(self, rng: np.random.Generator, language: str) -> None:
        tables = (words.PAGES, words.LISTS, words.STEPPERS, words.BUTTONS, words.TOGGLES)
        known = sorted({word for table in tables for word in table[language]})
        self._left = pick_some(rng, known, len(known))

    def one(self) -> str:
        """The next."""
        return escape(self._left.pop())


def draw(context: Draw) -> Drawn:
    """1 … 7 parts below each other."""
    rng, difficulty, language = context
    known, width = _Words(rng, language), WIDTHS[difficulty]
    count = (1, 2, 4, 5, 7)[difficulty]
    makers = [_heading, _paragraph, _button, _box, _list, _row, _form, _bar]
    chosen = pick_some(rng, makers[: 4 + difficulty], min(count, 4 + difficulty))
    parts = [_heading(rng, known)] + [maker(rng, known) for maker in chosen[: count - 1]]
    code = "\n".join(["<body>", *parts, "</body>"])
    body = parse_page(code)
    assert body is not None, code
    picture = paint(body, width)
    if picture.shape[0] > 1000:
        return draw(context)
    question = Text(_ASK[language].format(width=width))
    return Drawn((Image(picture), question), {"code": code, "width": width, "language": language})


def _dark(rng: np.random.Generator) -> str:
    """A colour that is read on white."""
    return colours.write(PALETTE[pick(rng, [n for n in PALETTE if n not in ("yellow", "pink")])][1])


def _pale(rng: np.random.Generator) -> str:
    return colours.write(mix(PALETTE[pick(rng, tuple(PALETTE))][1], WHITE, 0.75))


def _heading(rng: np.random.Generator, known: _Words) -> str:
    style = {"color": _dark(rng)}
    if rng.random() < 0.3:
        style["text-align"] = "center"
    return f"<h1{attributes(style)}>{known.one()}</h1>"


def _paragraph(rng: np.random.Generator, known: _Words) -> str:
    style = {"color": _dark(rng)} if rng.random() < 0.5 else {}
    return f"<p{attributes(style)}>{known.one()} {known.one()}</p>"


def _button(rng: np.random.Generator, known: _Words) -> str:
    style = {"background": _dark(rng), "color": "#ffffff"}
    return f"<button{attributes(style)}>{known.one()}</button>"


def _box(rng: np.random.Generator, known: _Words) -> str:
    style = {"background": _pale(rng), "padding": f"{pick(rng, (6, 8, 10))}px"}
    return f"<div{attributes(style)}><p>{known.one()}</p></div>"


def _list(rng: np.random.Generator, known: _Words) -> str:
    items = "".join(f"<li>{known.one()}</li>" for _ in range(int(rng.integers(2, 5))))
    return f"<h2>{known.one()}</h2>\n<ul>{items}</ul>"


def _row(rng: np.random.Generator, known: _Words) -> str:
    cells = []
    for _ in range(int(rng.integers(2, 4))):
        style = {"background": _pale(rng), "padding": "6px"}
        cells.append(f"<div{attributes(style)}><p>{known.one()}</p></div>")
    return f'<div style="display:flex">{"".join(cells)}</div>'


def _form(rng: np.random.Generator, known: _Words) -> str:
    value = f' value="{known.one()}"' if rng.random() < 0.7 else ""
    return f"<p>{known.one()}</p>\n<input{value}>\n{_button(rng, known)}"


def _bar(rng: np.random.Generator, known: _Words) -> str:
    style = {"background": _dark(rng), "color": "#ffffff", "padding": "6px", "display": "flex"}
    items = "".join(f"<p>{known.one()}</p>" for _ in range(3))
    return f"<div{attributes(style)}>{items}</div>\n<hr>"


def oracle(task: Task) -> Replies:
    """The code that the picture was drawn from."""
    return (boxed(task.reference["code"]),)


def distractors(task: Task) -> list[Replies]:
    """Blank pages, other texts, every word, and code that is not allowed."""
    code, language = task.reference["code"], task.reference["language"]
    inner = code.removeprefix("<body>").removesuffix("</body>")
    blank = ("", "<div></div>", '<div style="background:#ffffff;height:400px"></div>', "<p></p>")
    every = [
        w for t in (words.PAGES, words.LISTS, words.BUTTONS, words.TOGGLES) for w in t[language]
    ]
    everything = "".join(f"<p>{escape(word)}</p>" for word in every[:90])
    wrong = [f"<body>{said}</body>" for said in (*blank, everything * 3, "<p>0</p>" * 200)]
    bars = '<div style="background:#000000;height:9px"></div>' * 9
    wrong += [f"<body>{bars}</body>"]
    bad = ("<script>1</script>", '<img src="http://x/y.png">', "<iframe></iframe>", "&lol;")
    bad += ('<p style="background:url(x)">a</p>', '<p onclick="x">a</p>', "<!-- x -->")
    bad += ("<style>p{}</style>", '<p style="position:fixed">a</p>')
    wrong += [f"<body>{extra}{inner}</body>" for extra in bad]
    wrong += ["", inner, code + code, f"Here it is: {code}", code[:-2], f"```html\n{code}\n```"]
    return [(boxed(said),) for said in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A page of the same kind with other words and colours."""
    known = _Words(rng, task.reference["language"])
    makers = (_heading, _paragraph, _button, _box, _row)
    parts = [pick(rng, makers)(rng, known) for _ in range(int(rng.integers(1, 5)))]
    return (boxed("\n".join(["<body>", _heading(rng, known), *parts, "</body>"])),)


CATEGORY = Category(
    name="ui_to_html",
    group="visual_code",
    level="step",
    benchmark="Design2Code, Flame-React",
    scale="parts of the page: 1 … 7, and its width: 168 … 448 pixels",
    draw=draw,
    score=by_answer(pictures.page),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
