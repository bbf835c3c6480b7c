"""Small, strict markup: a tree of known elements with quoted attributes, and nothing else.

No entities but the five of XML, no comments, declarations, scripts or processing; what is not in
the grammar of the caller makes all of it None. Time is linear in the length.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_CHARACTERS, MAX_NODES, MAX_DEPTH = 20_000, 300, 16

_NAME = r"[a-zA-Z][a-zA-Z0-9]{0,15}"
_PAIR = r'[a-zA-Z][a-zA-Z0-9-]{0,30}="[^"<>]*"'
_OPEN = re.compile(rf"<({_NAME})((?:\s+{_PAIR})*)\s*(/?)>")
_CLOSE = re.compile(r"</([a-zA-Z][a-zA-Z0-9]{0,15})\s*>")
_ATTRIBUTE = re.compile(r'([a-zA-Z][a-zA-Z0-9-]{0,30})="([^"<>]*)"')
_ENTITY = re.compile(r"&([^;]{0,10});?")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "#39": "'"}


@dataclass(frozen=True)
class Node:
    """An element: its children are elements and texts in order."""

    tag: str
    attributes: Mapping[str, str]
    children: "list[Node | str]" = field(default_factory=list)


def parse(text: str, allowed: Mapping[str, frozenset[str]], void: frozenset[str]) -> Node | None:
    """The one element that a text consists of; None where it is anything else.

    Args:
        text: markup.
        allowed: tag -> the attributes that it may have.
        void: tags that have no end tag.
    """
    text = text.strip()
    if len(text) > MAX_CHARACTERS:
        return None
    top = Node("", {})
    stack, place, count = [top], 0, 0
    while place < len(text):
        if text[place] != "<":
            end = text.find("<", place)
            end = len(text) if end < 0 else end
            words = unescape(text[place:end])
            if words is None:
                return None
            if words.strip():
                stack[-1].children.append(" ".join(words.split()))
            place = end
            continue
        closed = _CLOSE.match(text, place)
        if closed:
            if len(stack) == 1 or stack.pop().tag != closed[1]:
                return None
            place = closed.end()
            continue
        opened = _OPEN.match(text, place)
        node = _node(opened, allowed) if opened else None
        count += 1
        if opened is None or node is None or count > MAX_NODES or len(stack) > MAX_DEPTH:
            return None
        stack[-1].children.append(node)
        if not opened[3] and node.tag not in void:
            stack.append(node)
        place = opened.end()
    one = top.children[0] if len(stack) == 1 and len(top.children) == 1 else None
    return one if isinstance(one, Node) else None


def unescape(text: str) -> str | None:
    """Text with its entities replaced; None where one is unknown."""
    if any(found[1] not in _ENTITIES or found[0][-1] != ";" for found in _ENTITY.finditer(text)):
        return None
    return _ENTITY.sub(lambda found: _ENTITIES[found[1]], text)


def escape(text: str) -> str:
    """Text as it stands in markup."""
    for letter, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        text = text.replace(letter, f"&{name};")
    return text


def _node(opened: re.Match[str], allowed: Mapping[str, frozenset[str]]) -> Node | None:
    pairs = _ATTRIBUTE.findall(opened[2])
    given = {key: unescape(value) for key, value in pairs}
    known = {key: value for key, value in given.items() if value is not None}
    if opened[1] not in allowed or len(known) < len(pairs) or not set(known) <= allowed[opened[1]]:
        return None
    return Node(opened[1], known)
