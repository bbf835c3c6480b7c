"""Mate in one on a drawn board; any move that mates is right, and it is judged by playing it."""

import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from cogvit_jax.data.rendering.canvas import BLACK, WHITE, Colour, new_sheet, pick
from mmtp.data.records import Image, Text
from rl.answers.reply import boxed
from rl.envs.category import Category, Draw, Drawn, Replies, by_answer
from rl.envs.parts import chess_rules
from rl.types import Json, Task

ASK = {
    "en": "White (light discs; K king, Q queen, R rook, B bishop, N knight, P pawn) moves upwards "
    "and mates in one move. Which move? Answer with the squares it goes from and to alone, such as "
    "e2e4.",
    "zh": "白方（浅色圆片；K王，Q后，R车，B象，N马，P兵）从下向上走，一步将死黑方。是哪一步？"
    "只回答起点和终点的格子，如e2e4。",
}
# White's pieces and black's, beside the kings.
SIDES = (("RR", ""), ("QR", ""), ("RB", "p"), ("QN", "pp"), ("QRN", "ppn"))
MOST_MATES = 2
CELL = 21
LIGHT: Colour = (238, 226, 200)
DARK: Colour = (170, 130, 92)
_MOVE = re.compile(r"([a-h][1-8])[-\s]?([a-h][1-8])", re.ASCII)


def draw(context: Draw) -> Drawn:
    """A position in which one white move mates, or two do."""
    rng, difficulty, language = context
    while True:
        board = _position(rng, *SIDES[difficulty])
        if chess_rules.in_check(board, True) or chess_rules.in_check(board, False):
            continue
        mates = chess_rules.mates(board)
        if 1 <= len(mates) <= MOST_MATES:
            break
    reference = {"board": board, "mates": [_said(move) for move in mates]}
    return Drawn((Image(picture(board)), Text(ASK[language])), reference)


def _position(rng: np.random.Generator, white: str, black: str) -> str:
    """The black king at the edge, the white one two or three squares off, its men around it."""
    cells = ["."] * 64
    rim = [i for i in range(64) if i // 8 in (0, 7) or i % 8 in (0, 7)]
    king = pick(rng, rim)
    far = [max(abs(i // 8 - king // 8), abs(i % 8 - king % 8)) for i in range(64)]
    cells[king] = "k"
    cells[pick(rng, [i for i in range(64) if far[i] in (2, 3)])] = "K"
    for piece in white + black:
        free = [i for i in range(64) if cells[i] == "." and (piece not in "Pp" or 2 <= i // 8 <= 5)]
        near = [i for i in free if far[i] <= 2]
        cells[pick(rng, near if piece.islower() and near else free)] = piece
    return "".join(cells)


def picture(board: str) -> UInt8[np.ndarray, "h w 3"]:
    """The board with letters and numbers at its sides; pieces are discs with letters."""
    left, side = 14, 8 * CELL
    sheet = new_sheet((side + left, side + left), WHITE, 2)
    for square, piece in enumerate(board):
        row, column = divmod(square, 8)
        x, y = left + column * CELL, row * CELL
        sheet.box((x, y, x + CELL, y + CELL), DARK if (row + column) % 2 else LIGHT)
        if piece != ".":
            ground, ink = (WHITE, BLACK) if piece.isupper() else (BLACK, WHITE)
            sheet.disc((x + CELL / 2, y + CELL / 2), 8.5, ground, BLACK)
            sheet.text((x + CELL / 2, y + CELL / 2), piece.upper(), 13, ink, "mm")
    for i in range(8):
        sheet.text((left / 2, (i + 0.5) * CELL), str(8 - i), 11, BLACK, "mm")
        sheet.text((left + (i + 0.5) * CELL, side + left / 2), "abcdefgh"[i], 11, BLACK, "mm")
    return sheet.pixels()


def score(answer: str, reference: Mapping[str, Json]) -> float:
    """1 where the answer is one legal move and mates."""
    match = _MOVE.fullmatch(answer.strip().removesuffix("#"))
    if not match:
        return 0.0
    move, board = (chess_rules.square(match[1]), chess_rules.square(match[2])), reference["board"]
    legal = move in chess_rules.moves(board, True)
    return float(legal and chess_rules.is_mate(chess_rules.after(board, move), False))


def oracle(task: Task) -> Replies:
    """A move that mates."""
    return (boxed(task.reference["mates"][0]),)


def distractors(task: Task) -> list[Replies]:
    """Checks that do not mate, other moves, illegal ones, several, and other notations."""
    board, mates = task.reference["board"], task.reference["mates"]
    other = [_said(move) for move in chess_rules.moves(board, True) if _said(move) not in mates]
    gold, black = mates[0], [_said(move) for move in chess_rules.moves(board, False)][:2]
    king = chess_rules.name(board.index("k"))
    said = [
        *other[::3],
        *black,
        f"{gold[2:]}{gold[:2]}",
        f"{gold[:2]}{king}",
        f"{gold[:2]}{gold[:2]}",
    ]
    said += [
        f"{gold} or {other[0]}",
        f"{gold}, {other[0]}",
        gold[2:],
        gold + other[0],
        "mate",
        "#",
        "",
    ]
    return [(boxed(answer),) for answer in said]


def guess(task: Task, rng: np.random.Generator) -> Replies:
    """A legal move, which is more than a blind policy could know."""
    legal = list(chess_rules.moves(task.reference["board"], True))
    return (boxed(_said(pick(rng, legal))),)


def _said(move: chess_rules.Move) -> str:
    return chess_rules.name(move[0]) + chess_rules.name(move[1])


CATEGORY = Category(
    name="chess_mate",
    group="puzzles",
    level="step",
    benchmark="chess puzzles (BIG-bench checkmate in one)",
    scale="pieces beside the kings: 2 white … 3 white and 3 black",
    draw=draw,
    score=by_answer(score),
    oracle=oracle,
    distractors=distractors,
    guess=guess,
)
