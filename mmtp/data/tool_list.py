"""Tools that may be called, as GLM's chat template tells a model of them.

The first turn of the conversation is the system's and lists one JSON schema a line. A system's own
words, where there are any, are a turn of their own behind it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmtp.data.records import Message, Text

_HEAD = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
"""
_TAIL = """</tools>

For each function call, output the function name and arguments within the following XML format:
<tool_call>{function-name}
<arg_key>{arg-key-1}</arg_key>
<arg_value>{arg-value-1}</arg_value>
<arg_key>{arg-key-2}</arg_key>
<arg_value>{arg-value-2}</arg_value>
...
</tool_call>"""


def tool_list(tools: Sequence[Mapping[str, Any]]) -> Message:
    """The system's turn that lists `tools`: JSON schemas as the OpenAI API takes them."""
    lines = "".join(json.dumps(tool, ensure_ascii=False) + "\n" for tool in tools)
    return Message("system", (Text(_HEAD + lines + _TAIL),))
