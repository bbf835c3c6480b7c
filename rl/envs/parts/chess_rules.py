"""The rules of chess that a mate in one needs: how pieces move, check, mate.

A board is a string of 64 characters from a8 to h1, as a reader sees it: "." or a piece, white in
capitals. Castling, en passant and promotion do not happen: positions are drawn without them.
"""

from collections.abc import Iterator

Move = tuple[int, int]  # from and to

_KNIGHT = ((-2, -1), (-2, 1), (-1, -2), (-1, 2), (1, -2), (1, 2), (2, -1), (2, 1))
_LINES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_DIAGONALS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_WAYS = {
    "Q": _LINES + _DIAGONALS,
    "K": _LINES + _DIAGONALS,
    "R": _LINES,
    "B": _DIAGONALS,
    "N": _KNIGHT,
}


def _rays() -> dict[str, list[tuple[tuple[int, ...], ...]]]:
    """For each piece and square the squares in each direction, nearest first."""
    found = {}
    for piece, ways in _WAYS.items():
        reach = 1 if piece in "KN" else 7
        found[piece] = [
            tuple(
                ray
                for dr, dc in ways
                if (
                    ray := tuple(
                        8 * (row + k * dr) + column + k * dc
                        for k in range(1, reach + 1)
                        if 0 <= row + k * dr < 8 and 0 <= column + k * dc < 8
                    )
                )
            )
            for row in range(8)
            for column in range(8)
        ]
    return found


_RAYS = _rays()


def name(square: int) -> str:
    """Of a square: 0 is a8, 63 is h1."""
    return "abcdefgh"[square % 8] + str(8 - square // 8)


def square(text: str) -> int:
    """The square of a name."""
    return 8 * (8 - int(text[1])) + "abcdefgh".index(text[0])


def attacked(board: str, target: int, by_white: bool) -> bool:
    """Whether a piece of that colour could take on a square."""
    for piece in ("Q", "R", "B", "N", "K"):
        wanted = piece if by_white else piece.lower()
        if wanted not in board:
            continue
        for ray in _RAYS[piece][target]:
            for at in ray:
                if board[at] != ".":
                    if board[at] == wanted:
                        return True
                    break
    pawn, row = ("P", target // 8 + 1) if by_white else ("p", target // 8 - 1)
    return 0 <= row < 8 and any(
        0 <= column < 8 and board[8 * row + column] == pawn
        for column in (target % 8 - 1, target % 8 + 1)
    )


def after(board: str, move: Move) -> str:
    """The board after a move."""
    cells = list(board)
    cells[move[1]], cells[move[0]] = cells[move[0]], "."
    return "".join(cells)


def _pawn_moves(board: str, at: int, white: bool) -> Iterator[Move]:
    ahead, (row, column) = (-8 if white else 8), divmod(at, 8)
    if not 0 <= at + ahead < 64:
        return
    if board[at + ahead] == ".":
        yield at, at + ahead
        if row == (6 if white else 1) and board[at + 2 * ahead] == ".":
            yield at, at + 2 * ahead
    for side in (-1, 1):
        if 0 <= column + side < 8:
            taken = board[at + ahead + side]
            if taken != "." and taken.isupper() != white:
                yield at, at + ahead + side


def moves(board: str, white: bool) -> Iterator[Move]:
    """Moves of one side that leave its king safe."""
    return (move for move in _steps(board, white) if not in_check(after(board, move), white))


def _steps(board: str, white: bool) -> Iterator[Move]:
    """Moves of one side, whatever becomes of its king."""
    for at, piece in enumerate(board):
        if piece != "." and piece.isupper() == white:
            yield from _pawn_moves(board, at, white) if piece in "Pp" else _piece_moves(board, at)


def _piece_moves(board: str, at: int) -> Iterator[Move]:
    white = board[at].isupper()
    for ray in _RAYS[board[at].upper()][at]:
        for to in ray:
            if board[to] == ".":
                yield at, to
                continue
            if board[to].isupper() != white:
                yield at, to
            break


def in_check(board: str, white: bool) -> bool:
    """Whether that side's king is attacked."""
    return attacked(board, board.index("K" if white else "k"), not white)


def is_mate(board: str, white: bool) -> bool:
    """Whether that side is in check and has no move."""
    return in_check(board, white) and next(moves(board, white), None) is None


def mates(board: str) -> list[Move]:
    """White's moves that mate."""
    found = []
    for move in _steps(board, True):
        new = after(board, move)
        if is_mate(new, False) and not in_check(new, True):
            found.append(move)
    return found
