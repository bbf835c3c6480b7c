"""The list of tools, as GLM's released templates print it."""

from mmtp.data.chat import ChatSettings, render, spell
from mmtp.data.records import Message, Text
from mmtp.data.tool_list import tool_list

TOOL = {"type": "function", "function": {"name": "weather", "description": "天气"}}
EXPECTED = (
    "[gMASK]<sop><|system|>\n# Tools\n\n"
    "You may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
    '{"type": "function", "function": {"name": "weather", "description": "天气"}}\n'
    '{"type": "function"}\n'
    "</tools>\n\n"
    "For each function call, output the function name and arguments within the following XML "
    "format:\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n"
    "<arg_value>{arg-value-1}</arg_value>\n<arg_key>{arg-key-2}</arg_key>\n"
    "<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>"
    "<|system|>\nBe brief.<|user|>\nWeather?"
)


def test_the_list_is_the_first_turn():
    messages = [
        tool_list([TOOL, {"type": "function"}]),
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Weather?"),)),
    ]
    assert spell(render(messages, ChatSettings("glm_ocr"))) == EXPECTED


def test_calls_that_it_shows_are_text():
    spans = render([tool_list([TOOL]), Message("user", (Text("a"),))], ChatSettings("glm_ocr"))
    assert any(
        isinstance(s.content, str) and "<tool_call>{function-name}" in s.content for s in spans
    )
    assert not any(span.said for span in spans)
