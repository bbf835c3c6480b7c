"""Answers that are no places, and places that have fooled other verifiers."""

from collections.abc import Sequence

from rl.answers.places import write


def box_attacks(box: Sequence[int]) -> list[str]:
    """Never a right answer, though each has to do with the right box."""
    x1, y1, x2, y2 = box
    gold = write((x1, y1, x2, y2))
    return [
        "",
        "[]",
        "[0,0,999,999]",
        "[0,0,1000,1000]",
        write((x2, y2, x1, y1)),
        write((x2, y1, x1, y2)),
        write((x1, y2, x2, y1)),
        write((x1, y1, x1, y1)),
        write((x1, y1, x1 + 1, y1 + 1)),
        "[nan,nan,nan,nan]",
        f"[{x1},{y1},inf,inf]",
        f"[{x1}.0,{y1}.0,{x2}.0,{y2}.0]",
        f"The box is {gold}.",
        f"{x1} {y1} {x2} {y2}",
        f"{gold},[0,0,999,999]",
        f"[{x1},{y1},{x2},{y2},0]",
        write((x1, y1, x2)),
        write(((x1 + x2) // 2, (y1 + y2) // 2)),
        f'{{"bbox_2d": {gold}}}',
    ]


def scattered_points(steps: int) -> str:
    """Points strewn over the whole picture."""
    at = [round(999 * (i + 0.5) / steps) for i in range(steps)]
    return f"[{','.join(write((x, y)) for y in at for x in at)}]"
