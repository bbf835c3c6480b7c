"""Write the SVG code of a picture of shapes."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Image, Text
from mmtp.data.tasks.scenes import PALETTE
from rl.answers import colours
from rl.answers.reply import boxed
from rl.answers.svg import parse_svg
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.rewards.rules import pictures
from rl.rewards.rules.rasters import render
from rl.types import Task

TAGS = ("rect", "circle", "polygon", "ellipse", "line", "polyline")
_ASK = {
    "en": "Write this picture, {side} by {side} pixels, as SVG: one <svg viewBox=\"0 0 {side} "
    '{side}"> on white, with rect, circle, ellipse, line, polyline and polygon; fill, stroke and '
    "stroke-width as attributes, colours as #rrggbb. Answer with the code only.",
    "zh": "把这张{side}×{side}像素的图写成SVG：一个白底的<svg viewBox=\"0 0 {side} {side}\">，"
    "其中可用rect、circle、ellipse、line、polyline、polygon，属性用fill、stroke、stroke-width，"
    "颜色写成#rrggbb。只回答代码。",
}  # fmt: skip


def draw(context: Draw) -> Drawn:
    """1 … 9 shapes, each in a cell of its own."""
    rng, difficulty, language = context
    cells = (1, 2, 2, 3, 3)[difficulty]
    count = (1, 2, 4, 6, 9)[difficulty]
    side = (56, 56, 84, 112, 112)[difficulty]
    tags = TAGS[: 2 + difficulty]
    places = np.sort(rng.choice(cells * cells, count, replace=False)).tolist()
    names = [pick(rng, tuple(PALETTE)) for _ in places]
    lines = [f'<svg viewBox="0 0 {side} {side}">']
    cell = side // cells
    for place, name in zip(places, names, strict=True):
        left, top = place % cells * cell, place // cells * cell
        fill = colours.write(PALETTE[name][1])
        lines.append(_shape(rng, pick(rng, tags), (left, top, cell), fill, difficulty))
    code = "\n".join([*lines, "</svg>"])
    svg = parse_svg(code)
    assert svg is not None, code
    question = Text(_ASK[language].format(side=side))
    reference = {"code": code, "size": [side, side]}
    return Drawn((Image(render(svg, (side, side))), question), reference)


def _shape(
    rng: np.random.Generator, tag: str, cell: tuple[int, int, int], fill: str, difficulty: int
) -> str:
    """A shape that fills most of a cell (left, top, side)."""
    left, top, side = cell
    x, y = left + side // 2, top + side // 2
    w, h = (int(n) for n in rng.integers(round(side * 0.26), round(side * 0.42) + 1, 2))
    paint = f'fill="{fill}"'
    if difficulty >= 3 and tag not in ("line", "polyline") and rng.random() < 0.4:
        paint = f'fill="none" stroke="{fill}" stroke-width="{int(rng.integers(2, 5))}"'
    drawn = f'stroke="{fill}" stroke-width="{int(rng.integers(3, 6))}"'
    if tag == "rect":
        return f'<rect x="{x - w}" y="{y - h}" width="{2 * w}" height="{2 * h}" {paint}/>'
    if tag == "circle":
        return f'<circle cx="{x}" cy="{y}" r="{w}" {paint}/>'
    if tag == "ellipse":
        return f'<ellipse cx="{x}" cy="{y}" rx="{w}" ry="{h}" {paint}/>'
    if tag == "line":
        return f'<line x1="{x - w}" y1="{y - h}" x2="{x + w}" y2="{y + h}" {drawn}/>'
    around = [(x, y - h), (x + w, y), (x, y + h), (x - w, y), (x + w, y + h), (x - w, y + h)]
    corners = [around[i] for i in pick(rng, ((0, 4, 5), (0, 1, 2, 3)))]
    if tag == "polyline":
        corners = [(x - w, y + h), (x - w // 3, y - h), (x + w // 3, y + h), (x + w, y - h)]
    points = " ".join(f"{a},{b}" for a, b in corners)
    painted = paint if tag == "polygon" else f'fill="none" {drawn}'
    return f'<{tag} points="{points}" {painted}/>'


def oracle(task: Task) -> Replies:
    """The code that the picture was drawn from."""
    return (boxed(task.reference["code"]),)


def distractors(task: Task) -> list[Replies]:
    """Nothing, plain pictures, its negative, code that is not allowed, and other pictures."""
    code, (side, _) = task.reference["code"], task.reference["size"]
    head, *shapes, tail = code.split("\n")
    whole = f'<rect x="0" y="0" width="{side}" height="{side}" fill='
    one = shapes[0]
    commonest = one.split('="#')[1][:6]
    wrong = [f"{head}{tail}", "", "<svg>", code[:-3], f"{code}{code}", f"Here: {code}"]
    plain = ("white", "black", "gray", f"#{commonest}")
    wrong += [f'{head}{whole}"{fill}"/>{tail}' for fill in plain]
    wrong += [f'{head}{whole}"none"/>{tail}', f'{head}<circle cx="-99" cy="0" r="5"/>{tail}']
    bad = ("<script>1</script>", '<image href="http://x/y.png"/>', '<use href="#a"/>', "&lol;")
    bad += ('<rect width="1" height="1" fill="url(#a)"/>', "<!-- x -->", "<text>x</text>")
    bad += ('<rect x="nan" width="9" height="9"/>', '<rect x="1e9" width="9" height="9"/>')
    wrong += [f"{head}{extra}{''.join(shapes)}{tail}" for extra in bad]
    wrong.append(f'<!DOCTYPE svg [<!ENTITY a "b">]>{code}')
    wrong.append(f'{head}{whole}"#{commonest}"/>{one.replace(commonest, "ffffff")}{tail}')
    return [(boxed(said),) for said in wrong]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A few shapes anywhere."""
    side = task.reference["size"][0]
    head = f'<svg viewBox="0 0 {side} {side}">'
    shapes = []
    for name in pick_some(rng, tuple(PALETTE), int(rng.integers(1, 5))):
        x, y, r = rng.integers(5, side - 5), rng.integers(5, side - 5), rng.integers(4, side // 4)
        fill = colours.write(PALETTE[name][1])
        shapes.append(f'<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}"/>')
    return (boxed(f"{head}{''.join(shapes)}</svg>"),)


CATEGORY = Category(
    name="svg_to_code",
    group="visual_code",
    level="step",
    benchmark="UniSVG",
    scale="shapes: 1 … 9, of 2 … 6 kinds",
    draw=draw,
    score=by_answer(pictures.svg),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
