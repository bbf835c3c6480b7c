"""The compiler's scheduled program (HLO text) as Python objects.

    module = parse(compiled.as_text())
    for instruction in module.computations[module.entry]: ...

Instructions stand in the order in which the chip runs them. The syntax is that of
openxla.org/xla/operation_semantics; what is not needed for counting is kept as text.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

_BITS = {"pred": 8, "token": 0, "opaque": 0}  # the others carry their width in their name
_SHAPE = re.compile(r"\b([a-z]+\d*\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%([^\s(]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%([^\s=]+) = (.*)$")
_OPCODE = re.compile(r"^([\w\-]+)\(")
_FRAME = re.compile(r"^(\d+) \{file_location_id=(\d+) parent_frame_id=(\d+)\}")
_LOCATION = re.compile(r"^(\d+) \{file_name_id=(\d+) function_name_id=\d+ line=(\d+)")
_FILE = re.compile(r'^(\d+) "(.*)"$')


@dataclasses.dataclass(frozen=True)
class Shape:
    """One array: element type, dims, and whether it lives in the chip's main memory (HBM)."""

    dtype: str
    dims: tuple[int, ...]
    in_hbm: bool

    @property
    def size(self) -> int:
        """Bytes, without the padding of tiles."""
        return math.prod(self.dims) * dtype_bits(self.dtype) // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name, opcode: such as `fusion.7` and `fusion`.
        shapes: its results; several for a tuple.
        operands: names of instructions of the same computation.
        rest: everything behind the operands: attributes, metadata, backend_config.
        literal: the text between the parentheses; a constant's value, a parameter's number.
        root: whether it is the computation's result.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    rest: str
    literal: str
    root: bool

    @property
    def size(self) -> int:
        """Bytes of all results."""
        return sum(s.size for s in self.shapes)

    def attribute(self, name: str) -> str:
        """Text of attribute `name=…` up to the next blank or comma outside brackets, or ""."""
        match = re.search(rf"\b{name}=", self.rest)
        return _until_comma(self.rest[match.end() :]) if match else ""

    def computations(self) -> tuple[str, ...]:
        """Names of the computations that it runs."""
        found = re.findall(
            r"\b(?:calls|to_apply|body|true_computation|false_computation)=%([^\s,})]+)", self.rest
        )
        branches = self.attribute("branch_computations")
        return (*found, *re.findall(r"%([^\s,}]+)", branches))


@dataclasses.dataclass(frozen=True)
class Module:
    """A program: computations by name, the entry's name, and source lines by stack frame."""

    computations: Mapping[str, Sequence[Instruction]]
    entry: str
    frames: Mapping[int, tuple[str, ...]]

    def source(self, instruction: Instruction) -> tuple[str, ...]:
        """`file:line` of the Python calls that made an instruction, innermost first."""
        match = re.search(r"stack_frame_id=(\d+)", instruction.rest)
        return self.frames.get(int(match[1]), ()) if match else ()


def dtype_bits(dtype: str) -> int:
    """Bits per element: `bf16` -> 16, `f8e4m3fn` -> 8, `pred` -> 8."""
    if dtype in _BITS:
        return _BITS[dtype]
    match = re.match(r"[a-z]+(\d+)", dtype)
    return int(match[1]) if match else 0


def parse(text: str) -> Module:
    """Reads the text of one module."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if not line.startswith(" "):
            match = _COMPUTATION.match(line)
            if match:
                current = computations.setdefault(match[2], [])
                entry = match[2] if match[1] else entry
            continue
        match = _INSTRUCTION.match(line)
        if match and current is not None:
            current.append(_instruction(match[2], match[3], bool(match[1])))
    return Module(computations, entry, dict(_frames(text)))


def _instruction(name: str, text: str, root: bool) -> Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    kind, text = text[:end], text[end:].lstrip()
    match = _OPCODE.match(text)
    if not match:
        raise ValueError(f"HLO instruction %{name} cannot be read: {text[:80]!r}.")
    closing = _closing(text, match.end() - 1)
    inside, rest = text[match.end() : closing], text[closing + 1 :]
    operands = tuple(re.findall(r"%([^\s,()]+)", inside))
    return Instruction(name, match[1], shapes(kind), operands, rest, inside, root)


def shapes(text: str) -> tuple[Shape, ...]:
    """All arrays named in a type; memory space 0 is HBM, others (`S(1)`) are on the chip."""
    found = []
    for dtype, dims, layout in _SHAPE.findall(text):
        numbers = tuple(int(d.lstrip("<=")) for d in dims.split(",") if d)
        found.append(Shape(dtype, numbers, "S(" not in layout))
    return tuple(found)


def _closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] in "({":
            depth += 1
        elif text[i] in ")}":
            depth -= 1
            if not depth:
                return i
    raise ValueError(f"HLO text ends inside a bracket: {text[start : start + 80]!r}.")


def _until_comma(text: str) -> str:
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter in "({[") - (letter in ")}]")
        if depth < 0 or (depth == 0 and letter == ","):
            return text[:i]
    return text


def _frames(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(frame id, its `file:line`s, innermost first) from the tables at the head of the text."""
    files: dict[int, str] = {}
    locations: dict[int, str] = {}
    frames: dict[int, tuple[int, int]] = {}
    for line in text.splitlines():
        if match := _FRAME.match(line):
            frames[int(match[1])] = int(match[2]), int(match[3])
        elif match := _LOCATION.match(line):
            locations[int(match[1])] = f"{files.get(int(match[2]), '?')}:{match[3]}"
        elif match := _FILE.match(line):
            files.setdefault(int(match[1]), match[2])
        elif frames and not line.strip():
            break
    for frame in frames:
        chain, current = [], frame
        while current in frames and len(chain) < 64:
            location, parent = frames[current]
            chain.append(locations.get(location, "?"))
            if parent == current:
                break
            current = parent
        yield frame, tuple(chain)
