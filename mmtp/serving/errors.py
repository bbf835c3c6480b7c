"""Errors as OpenAI's API tells them."""

import re
from dataclasses import dataclass
from typing import Any


@dataclass
class ApiError(Exception):
    """What the client is told.

    Attributes:
        message: what was found, what is expected, and the remedy.
        param: the field, such as `messages[0].content`; "" = none.
        code: a word for programs.
        status: of HTTP.
    """

    message: str
    param: str = ""
    code: str = "invalid_value"
    status: int = 400

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param or None}
        return {"error": error | {"code": self.code}}


def told(error: Exception) -> str:
    """An error's message without the memory addresses that some packages put into theirs."""
    return re.sub(r"\s*<[^<>]* object at 0x[0-9a-f]+>", "", str(error))
