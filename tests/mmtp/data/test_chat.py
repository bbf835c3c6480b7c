"""Against what the released templates print.

The expected strings were rendered with jinja2 (trim_blocks, lstrip_blocks) from chat_template.jinja
of zai-org/GLM-OCR and of zai-org/GLM-4.1V-9B-Thinking.
"""

import pytest

from cogvit_jax.data.records import CorruptRecord
from cogvit_jax.settings import ConfigError
from mmtp.data.chat import ChatSettings, Token, render, spell, write_seconds
from mmtp.data.records import Image, Message, Text, Video

PICTURE = Image(b"png")
VIDEO = Video((b"png",), (0.0,))
BOI = "<|begin_of_image|><|image|><|end_of_image|>"
CALL = (
    "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n"
    "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"
)
OFF, ON, UNSET = (ChatSettings("glm_ocr", thinking) for thinking in (False, True, None))
OLD = ChatSettings("glm_4_1v")


def parts(*contents):
    return tuple(Text(c) if isinstance(c, str) else c for c in contents)


def user(*contents):
    return Message("user", parts(*contents))


def assistant(*contents, thinking=""):
    return Message("assistant", parts(*contents), thinking)


def system(*contents):
    return Message("system", parts(*contents))


def tool(*contents):
    return Message("observation", parts(*contents))


# (messages, settings, what is printed, what the generation prompt adds)
CASES = {
    "picture": (
        [user(PICTURE, "What is this?")],
        UNSET,
        f"[gMASK]<sop><|user|>\n{BOI}What is this?",
        "<|assistant|>\n",
    ),
    "picture, no thinking": (
        [user(PICTURE, "What is this?")],
        OFF,
        f"[gMASK]<sop><|user|>\n{BOI}What is this?/nothink",
        "<|assistant|>\n<think></think>\n",
    ),
    "picture, 4.1V": (
        [user(PICTURE, "What is this?")],
        OLD,
        f"[gMASK]<sop><|user|>\n{BOI}What is this?",
        "<|assistant|>\n",
    ),
    "two pictures": (
        [system("Be brief."), user("Left:", PICTURE, "right:", PICTURE, "Same?")],
        ON,
        f"[gMASK]<sop><|system|>\nBe brief.<|user|>\nLeft:{BOI}right:{BOI}Same?",
        "<|assistant|>\n",
    ),
    "answer": (
        [user(PICTURE, "Which digit?"), assistant("7")],
        UNSET,
        f"[gMASK]<sop><|user|>\n{BOI}Which digit?<|assistant|>\n<think></think>\n7",
        "<|assistant|>\n",
    ),
    "answer, 4.1V": (
        [user(PICTURE, "Which digit?"), assistant("7")],
        OLD,
        f"[gMASK]<sop><|user|>\n{BOI}Which digit?<|assistant|>\n7",
        "<|assistant|>\n",
    ),
    "thoughts of the last turn only": (
        [
            user("2+2?"),
            assistant("4", thinking="two and two"),
            user("3+3?"),
            assistant(" 6\n", thinking="\nthree twice "),
        ],
        UNSET,
        "[gMASK]<sop><|user|>\n2+2?<|assistant|>\n<think></think>\n4<|user|>\n3+3?<|assistant|>\n"
        "<think>three twice</think>\n6",
        "<|assistant|>\n",
    ),
    "space stays, 4.1V": (
        [user("3+3?"), assistant(" 6\n")],
        OLD,
        "[gMASK]<sop><|user|>\n3+3?<|assistant|>\n 6\n",
        "<|assistant|>\n",
    ),
    "video": (
        [user(VIDEO, "What happens?")],
        UNSET,
        "[gMASK]<sop><|user|>\n<|begin_of_video|><|video|><|end_of_video|>What happens?",
        "<|assistant|>\n",
    ),
    "line breaks": ([user("a\n", "\nb")], UNSET, "[gMASK]<sop><|user|>\na\n\nb", "<|assistant|>\n"),
    "tool": (
        [user("Weather?"), assistant(f"Let me look.\n{CALL}"), tool("rain"), assistant("Rain.")],
        UNSET,
        f"[gMASK]<sop><|user|>\nWeather?<|assistant|>\n<think></think>\nLet me look.\n{CALL}"
        "<|observation|>\n<tool_response>\nrain\n</tool_response>\n<|assistant|>\n"
        "<think></think>\nRain.",
        "<|assistant|>\n",
    ),
    "two tools": (
        [user("Weather?"), assistant(CALL), tool("rain"), tool("12:00"), assistant("Rain.")],
        UNSET,
        f"[gMASK]<sop><|user|>\nWeather?<|assistant|>\n<think></think>\n{CALL}<|observation|>\n"
        "<tool_response>\nrain\n</tool_response>\n\n<tool_response>\n12:00\n</tool_response>\n"
        "<|assistant|>\n<think></think>\nRain.",
        "<|assistant|>\n",
    ),
    "tool returns a picture": (
        [user("tap"), assistant(CALL), tool(PICTURE, "done"), assistant("ok", thinking="hm")],
        OFF,
        f"[gMASK]<sop><|user|>\ntap/nothink<|assistant|>\n<think></think>\n{CALL}<|observation|>\n"
        f"<tool_response>\n{BOI}done\n</tool_response><|assistant|>\n<think>hm</think>\nok",
        "<|assistant|>\n<think></think>\n",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_prints_what_the_released_template_prints(name):
    messages, settings, expected, prompt = CASES[name]
    assert spell(render(messages, settings)) == expected
    assert spell(render(messages, settings, generation_prompt=True)) == expected + prompt


def said(messages, settings):
    return spell([span for span in render(messages, settings) if span.said])


def test_said_begins_where_the_prompt_ends_and_includes_what_ends_the_turn():
    messages = [user("a"), assistant("b"), user("c"), assistant("d")]
    assert said(messages, OFF) == "b<|user|>d"
    assert said(messages, UNSET) == "<think></think>\nb<|user|><think></think>\nd"
    assert said([user("a"), assistant("b", thinking="t")], ON) == "<think>t</think>\nb"
    assert said([user("a"), assistant(CALL), tool("x")], OFF) == f"{CALL}<|observation|>"
    thought = [user("a"), assistant("b", thinking="t")]
    assert said(thought, OLD) == "<think>t</think>b"


def test_thoughts_that_are_left_out_do_not_teach_not_to_think():
    messages = [user("a"), assistant("b", thinking="t"), user("c"), assistant("d", thinking="u")]
    assert said(messages, UNSET) == "b<|user|><think>u</think>\nd"


@pytest.mark.parametrize("role", ["system", "user", "observation"])
def test_text_of_others_is_text(role):
    words = "<|assistant|>\n<think></think><tool_call><|begin_of_box|><|image|>/nothink[gMASK]"
    spans = render([user("hi"), Message(role, (Text(words),))], UNSET)
    assert sum(span.content == words for span in spans) == 1


def test_answers_have_markup_and_no_other_tokens():
    spans = render([user("a"), assistant("x <|begin_of_box|>7<|end_of_box|><|user|><think>")], OFF)
    assert [span.content for span in spans if span.said] == [
        "x ",
        Token("<|begin_of_box|>"),
        "7",
        Token("<|end_of_box|>"),
        "<|user|><think>",
    ]


def test_seconds():
    assert write_seconds(2.96, UNSET) == "3.0 seconds"
    assert write_seconds(2.96, OLD) == "2"


@pytest.mark.parametrize(
    ("messages", "settings", "match"),
    [
        ([], UNSET, "no messages"),
        ([Message("robot", parts("a"))], UNSET, "unknown role 'robot'"),
        ([Message("", parts("a")), user("b")], UNSET, "stands alone"),
        ([Message("user", parts("a"), "hm")], UNSET, "'user' has thoughts"),
        ([user("a"), tool("b")], OLD, "glm_4_1v has no turns of tools"),
    ],
)
def test_faults(messages, settings, match):
    with pytest.raises(CorruptRecord, match=match):
        render(messages, settings)


def test_unknown_style():
    with pytest.raises(ConfigError, match=r"config\.chat\.style = 'glm'"):
        render([user("a")], ChatSettings("glm"))
