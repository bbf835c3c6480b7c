"""Schemas of tools, in the form that chat templates list them: plain dicts of JSON.

Names and arguments of the picture tools follow the 28 tools that the GLM-5V-Turbo report names; no
schema of theirs is public, so these are this project's. Coordinates are thousandths of the picture.
Pictures are named by handles, `mm://img_0` for the first.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
HANDLE: Schema = {"type": "string", "description": "A picture's handle, such as mm://img_0."}
BOX: Schema = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 1000},
    "minItems": 4,
    "maxItems": 4,
    "description": "[x1, y1, x2, y2] in thousandths of the picture.",
}


def one_of(*options: str) -> Schema:
    """One of several strings."""
    return {"type": "string", "enum": list(options)}


def listed(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": dict(items)}


def tool(
    name: str, description: str, arguments: Mapping[str, Schema], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A tool's schema.

    Args:
        name: of the tool.
        description: what it does.
        arguments: name -> schema of its value.
        optional: arguments that may be left out.
    """
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {key: dict(schema) for key, schema in arguments.items()},
                "required": [key for key in arguments if key not in optional],
                "additionalProperties": False,
            },
        },
    }


CROP = tool(
    "zai_crop_image",
    "Cuts a box out of a picture and shows it enlarged.",
    {"image": HANDLE, "box_2d": BOX},
)
ROTATE = tool(
    "rotate_image",
    "Turns a picture clockwise by 90, 180 or 270 degrees.",
    {"image": HANDLE, "degrees": {"type": "integer", "enum": [90, 180, 270]}},
)
CALCULATE = tool(
    "calculate",
    "Computes an expression of numbers, + - * / and brackets.",
    {"expression": STRING},
)
SEARCH_TEXT = tool(
    "zai_search_web_text",
    "Pages whose text fits the words best: ids, titles, first words.",
    {"query": STRING},
)
SEARCH_IMAGE = tool(
    "zai_search_web_by_image",
    "Pages that show a picture like this one: ids and titles.",
    {"image": HANDLE},
)
OPEN_PAGE = tool(
    "zai_read_webpage",
    "All of a page: its text and its picture.",
    {"page": {"type": "string", "description": "A page's id."}},
)
