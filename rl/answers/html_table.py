"""HTML tables in answers, as trees of rows and cells.

Untrusted: bounded in length, no document type, no entities but characters, no network, and no tag
but those of tables and of plain text.
"""

from dataclasses import dataclass

MAX_CHARACTERS = 50_000
MAX_SPAN = 50
REFUSED = ("<!", "<?", "\x00")
SECTIONS = ("thead", "tbody", "tfoot")
INLINE = ("b", "i", "em", "strong", "span", "p", "sup", "sub", "br")


@dataclass(frozen=True)
class Node:
    """Of a table's tree.

    Attributes:
        tag: "table", "tr" or "td".
        spans: (colspan, rowspan) of a cell.
        text: of a cell.
        children: in order.
    """

    tag: str
    spans: tuple[int, int] = (1, 1)
    text: str = ""
    children: tuple["Node", ...] = ()

    @property
    def size(self) -> int:
        """Nodes, itself included."""
        return 1 + sum(child.size for child in self.children)


def parse_table(html: str) -> Node | None:
    """The tree of the one table that `html` consists of; None where it is anything else."""
    from lxml import etree  # pyright: ignore

    text = html.strip()
    whole = text[:6].lower() == "<table" and text[-8:].lower() == "</table>"
    if not whole or len(text) > MAX_CHARACTERS or any(m in text for m in REFUSED):
        return None
    parser = etree.HTMLParser(no_network=True, huge_tree=False, encoding="utf-8")
    try:
        page = etree.fromstring(text.encode(errors="replace"), parser)
    except (etree.LxmlError, ValueError, AssertionError):
        return None
    body = None if page is None else page.find("body")
    if body is None or len(body) != 1 or body[0].tag != "table" or _said_between(body):
        return None
    rows = _rows(body[0])
    return None if rows is None else Node("table", children=tuple(rows))


def _rows(parent) -> list[Node] | None:
    """The rows of a table or of its section."""
    if _said_between(parent):
        return None
    found: list[Node] = []
    for child in parent:
        if child.tag in SECTIONS and parent.tag == "table":
            rows = _rows(child)
        elif child.tag == "tr" and not _said_between(child):
            cells = [_cell(cell) for cell in child]
            kept = tuple(cell for cell in cells if cell is not None)
            rows = [Node("tr", children=kept)] if len(kept) == len(cells) else None
        else:
            rows = None
        if rows is None:
            return None
        found += rows
    return found


def _cell(cell) -> Node | None:
    inner = [element for element in cell.iter() if element is not cell]
    if cell.tag not in ("td", "th") or any(element.tag not in INLINE for element in inner):
        return None
    spans = (_span(cell.get("colspan", "1")), _span(cell.get("rowspan", "1")))
    if 0 in spans:
        return None
    for element in inner:
        if element.tag in ("br", "p"):
            element.tail = f" {element.tail or ''}"
    return Node("td", spans, " ".join("".join(cell.itertext()).split()))


def _span(text: str) -> int:
    """1 … MAX_SPAN, or 0 for what is no span."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    return value if value <= MAX_SPAN else 0


def _said_between(element) -> bool:
    """Whether text stands where none belongs."""
    texts = (element.text, *(child.tail for child in element))
    return any(text and text.strip() for text in texts)
