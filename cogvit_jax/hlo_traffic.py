"""How many bytes an instruction of a scheduled program moves to and from main memory (HBM)."""

from collections.abc import Sequence

from cogvit_jax.hlo import Instruction, Module

_FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "conditional"}


def traffic(module: Module, instruction: Instruction, by_name: dict[str, Instruction]) -> float:
    """HBM bytes that an instruction reads and writes. A fusion that slices an operand or updates
    part of a result touches only that part, and one that hands an operand on does not touch it.
    """
    if instruction.opcode in _FREE or instruction.opcode.endswith("-done"):
        return 0.0
    called = instruction.computations() if instruction.opcode == "fusion" else ()
    inner = module.computations[called[0]] if called else ()
    read = sum(
        _part(module, inner, number, by_name[name])
        for number, name in enumerate(instruction.operands)
        if name in by_name
    )
    return read + _written(instruction, inner)


def _written(instruction: Instruction, inner: Sequence[Instruction]) -> float:
    by_name = {i.name: i for i in inner}
    root = next((i for i in inner if i.root), None)
    parts = (
        [by_name.get(name) for name in root.operands] if root and root.opcode == "tuple" else [root]
    )
    if len(parts) != len(instruction.shapes):
        return float(sum(s.size for s in instruction.shapes if s.in_hbm))
    total = 0.0
    for part, shape in zip(parts, instruction.shapes, strict=True):
        while part is not None and part.opcode == "bitcast":
            part = by_name.get(part.operands[0])
        if part is not None and part.opcode == "dynamic-update-slice":
            total += by_name[part.operands[1]].size
        elif shape.in_hbm and (part is None or part.opcode != "parameter"):
            total += shape.size
    return total


def _part(module: Module, inner: Sequence[Instruction], number: int, operand: Instruction) -> float:
    """Bytes of operand `number` that the fused computation `inner` reads from HBM."""
    whole = float(sum(s.size for s in operand.shapes if s.in_hbm))
    return min(whole, _touched(module, inner, _parameter(inner, number), whole)) if whole else 0.0


def _parameter(inner: Sequence[Instruction], number: int) -> str:
    names = [i.name for i in inner if i.opcode == "parameter" and i.literal == str(number)]
    return names[0] if names else ""


def _touched(module: Module, inner: Sequence[Instruction], name: str, whole: float) -> float:
    users = [i for i in inner if name in i.operands]
    total = 0.0 if users else whole
    for user in users:
        if user.opcode in ("dynamic-slice", "slice", "gather"):
            total += user.size
        elif user.opcode == "bitcast":
            total += _touched(module, inner, user.name, whole)
        elif user.opcode == "fusion":
            nested = module.computations[user.computations()[0]]
            parameter = _parameter(nested, user.operands.index(name))
            total += _touched(module, nested, parameter, whole)
        elif user.opcode == "tuple" or (
            user.opcode == "dynamic-update-slice" and user.operands[0] == name
        ):
            continue  # handed on, or updated in place
        else:
            return whole
    return total
