"""HTML that is safe by construction: whatever is not made by `tag` is text, and is escaped."""

import html

from rl.viewing import texts

VOID = ("img", "input", "meta", "link")  # elements without an end


class Markup(str):
    """HTML that needs no escaping: `tag` makes it."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: object) -> Markup:
    """An element.

    Args:
        name: of the element.
        *children: other elements, or text.
        **attributes: `class_` is class, `_` in other names is `-`; None and False are left out,
            True is an attribute without a value.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Elements and texts one after the other."""
    return Markup(
        "".join(child if isinstance(child, Markup) else text(child) for child in children)
    )


def text(value: str) -> Markup:
    """Text as it is to be seen: marks escaped, control characters as their pictures."""
    return Markup(html.escape(texts.visible(value, 50_000)))


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(str(value))}"'
