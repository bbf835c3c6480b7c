"""Actions in three dialects: what parses, what does not, and that it comes back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.answers import gui
from rl.answers.gui_family import (
    Answer,
    Click,
    Drag,
    Finish,
    Go,
    Press,
    Scroll,
    Wait,
    Write,
    from_json,
    to_json,
)

BOX = (10, 20, 30, 40)
GOOD = {
    "mobile": {
        '{"action_type": "click", "box_2d": [[10, 20, 30, 40]]}': Click(BOX),
        '{"action_type": "click", "box_2d": [10,20,30,40]}': Click(BOX),
        '{"box_2d": [[1, 2, 3, 4]], "action_type": "long_press"}': Click((1, 2, 3, 4), "long"),
        '{"action_type": "input_text", "text": "a\\"b", "box_2d": [[10,20,30,40]]}': Write(
            'a"b', BOX
        ),
        '{"action_type": "input_text", "text": "x", "box_2d": [[10,20,30,40]], "override": true}': (
            Write("x", BOX, True)
        ),
        '{"action_type": "swipe", "direction": "up"}': Scroll("down"),
        '{"action_type": "swipe", "direction": "left", "box_2d": [[10,20,30,40]]}': Scroll(
            "right", BOX
        ),
        '{"action_type": "open_app", "app_name": "Clock"}': Go("Clock"),
        '{"action_type": "keyboard_enter"}': Press("enter"),
        '{"action_type": "navigate_back"}': Go("back"),
        '{"action_type": "navigate_home"}': Go("home"),
        '{"action_type": "wait"}': Wait(),
        '{"action_type": "answer", "text": "中文"}': Answer("中文"),
        '{"action_type": "status", "goal_status": "complete"}': Finish(True),
        '{"action_type": "status", "goal_status": "infeasible"}': Finish(False),
    },
    "pc": {
        "left_click(start_box='[12,34]', element_info='')": Click((12, 34)),
        "left_click(start_box='[12, 34]')": Click((12, 34)),
        "left_click(start_box='[1,2,3,4]', element_info='Tom's button')": Click((1, 2, 3, 4)),
        'right_click(start_box="[0,0]")': Click((0, 0), "right"),
        "left_double_click(start_box='[5,6]')": Click((5, 6), "double"),
        "hover(start_box='[5,6]')": Click((5, 6), "hover"),
        "left_drag(start_box='[1,2]', end_box='[3,4]', element_info='')": Drag((1, 2), (3, 4)),
        "scroll(start_box='[500,500]', direction='down', step=3)": Scroll("down", (500, 500), 3),
        "key(keys='ctrl+a')": Press("ctrl+a"),
        "key(keys='Enter')": Press("enter"),
        "type(content='it\\'s')": Write("it's"),
        "type(content='it's')": Write("it's"),
        'type(content="it\'s")': Write("it's"),
        "type(content='a\\nb\\\\')": Write("a\nb\\"),
        "type(content='f(x)')": Write("f(x)"),
        "type(content='')": Write(""),
        "WAIT()": Wait(),
        "DONE()": Finish(True),
        "FAIL()": Finish(False),
    },
    "web": {
        "Click [3]": Click((3,)),
        "Type [4]; [some ] text]": Write("some ] text", (4,), True),
        "Scroll [WINDOW]; [down]": Scroll("down"),
        "Scroll [6]; [up]": Scroll("up", (6,)),
        "Key; [Return]": Press("enter"),
        "Wait": Wait(),
        "GoBack": Go("back"),
        "Bing": Go("search"),
        "ANSWER; <content>two\nlines</content>": Answer("two\nlines"),
    },
}
BAD = {
    "mobile": (
        "",
        "{}",
        "[]",
        "null",
        '{"action_type": "click"}',
        '{"action_type": "click", "box_2d": [[10, 20]]}',
        '{"action_type": "click", "box_2d": [[30, 20, 10, 40]]}',
        '{"action_type": "click", "box_2d": [[10, 20, 10, 40]]}',
        '{"action_type": "click", "box_2d": [[10, 20, 30, 1001]]}',
        '{"action_type": "click", "box_2d": [[10, 20, 30, 40.0]]}',
        '{"action_type": "click", "box_2d": [[true, 20, 30, 40]]}',
        '{"action_type": "click", "box_2d": [[NaN, 20, 30, 40]]}',
        '{"action_type": "click", "box_2d": [[10,20,30,40],[50,60,70,80]]}',
        '{"action_type": "click", "box_2d": [[10,20,30,40]], "extra": 1}',
        '{"action_type": "wait", "action_type": "status", "goal_status": "complete"}',
        '{"action_type": "wait"} {"action_type": "wait"}',
        '{"action_type": "status", "goal_status": "done"}',
        '{"action_type": "swipe", "direction": "sideways"}',
        '{"action_type": "swipe", "direction": ["up"]}',
        '{"action_type": ["click"]}',
        '{"action_type": "input_text", "text": 5, "box_2d": [[10,20,30,40]]}',
        '{"action_type": "input_text", "text": "x", "box_2d": [[10,20,30,40]], "override": 1}',
        "{'action_type': 'wait'}",
        "__import__('os').getpid()",
        "[" * 3990,
        '{"a":' * 700,
    ),
    "pc": (
        "left_click()",
        "left_click(start_box='[12]')",
        "left_click(start_box='[1,2,3]')",
        "left_click(start_box='[12,1001]')",
        "left_click(start_box='[-1,5]')",
        "left_click(start_box='[4,4,2,8]')",
        "left_click(start_box=[12,34])",
        "left_click(start_box='[1,2]', start_box='[1,2]')",
        "left_click(start_box='[1,2]', other='')",
        "left_click(start_box='[1,2]') DONE()",
        "left_click(start_box='[1,2]'); DONE()",
        "left_click(start_box='[１,２]')",
        "scroll(start_box='[1,2]', direction='in')",
        "scroll(start_box='[1,2]', direction='up', step=0)",
        "scroll(start_box='[1,2]', direction='up', step='5')",
        "key(keys='')",
        "key(keys='ctrl+')",
        "type('x')",
        "type(content='x') type(content='y')",
        "type(content='x');DONE() type(content='y')",
        "type(content='x', element_info='')",
        "type(content='x'",
        "type(content=x)",
        "DONE",
        "DONE(1)",
        "done()",
        "exec(content='x')",
        "__import__('os').getpid()",
    ),
    "web": (
        "Click 3",
        "Click [three]",
        "Click [3] [4]",
        "Click [3]\nClick [4]",
        "Click [３]",
        "Type [3]; [a\nb]",
        "Type [3] [a]",
        "Scroll [WINDOW]; [left]",
        "wait",
        "Key; [Escape]",
        "ANSWER",
        "ANSWER; x",
        "ANSWER; <content>a</content><content>b</content>",
    ),
}
text = st.text(max_size=40)
box = st.tuples(*[st.integers(0, 499)] * 2, *[st.integers(500, 999)] * 2)
point = st.tuples(*[st.integers(0, 1000)] * 2)
mark = st.tuples(st.integers(0, 9999))
direction = st.sampled_from(("up", "down", "left", "right"))
ACTIONS = {
    "mobile": st.one_of(
        st.builds(Click, box, st.sampled_from(("left", "long"))),
        st.builds(Write, text, box, st.booleans()),
        st.builds(Scroll, direction, st.one_of(box, st.just(()))),
        st.builds(Answer, text),
        st.builds(Finish, st.booleans()),
        st.sampled_from((Wait(), Go("back"), Go("home"), Go("Clock"), Press("enter"))),
    ),
    "pc": st.one_of(
        st.builds(Click, st.one_of(point, box), st.sampled_from(("left", "right", "hover"))),
        st.builds(Write, text),
        st.builds(Drag, point, point),
        st.builds(Scroll, direction, point, st.integers(1, 20)),
        st.builds(Finish, st.booleans()),
        st.sampled_from((Wait(), Press("ctrl+a"), Press("enter"))),
    ),
    "web": st.one_of(
        st.builds(Click, mark),
        st.builds(Write, text.filter(lambda t: "\n" not in t), mark, st.just(True)),
        st.builds(Scroll, st.sampled_from(("up", "down")), st.one_of(mark, st.just(()))),
        st.builds(Answer, text.filter(lambda t: "content>" not in t)),
        st.sampled_from((Wait(), Go("back"), Press("enter"))),
    ),
}


@pytest.mark.parametrize("dialect", gui.DIALECTS)
def test_what_parses(dialect):
    for said, action in GOOD[dialect].items():
        assert gui.parse(f" {said}\n", dialect) == action, said


@pytest.mark.parametrize("dialect", gui.DIALECTS)
def test_what_does_not_parse(dialect):
    others = [said for name in gui.DIALECTS if name != dialect for said in GOOD[name]]
    for said in (*BAD[dialect], *others, "x" * 5000):
        assert gui.parse(said, dialect) is None, said


@pytest.mark.parametrize("dialect", gui.DIALECTS)
def test_round_trip(dialect):
    @settings(max_examples=150, database=None)
    @given(ACTIONS[dialect])
    def check(action):
        assert gui.parse(gui.write(action, dialect), dialect) == action
        assert from_json(json.loads(json.dumps(to_json(action)))) == action

    check()


@pytest.mark.parametrize("dialect", gui.DIALECTS)
def test_never_raises(dialect):
    pieces = st.lists(
        st.sampled_from(
            [*"'\"\\()[]{},;=:<> \n5x", "start_box", "content", "Type", "action_type", "click"]
        ),
        max_size=30,
    ).map("".join)
    starts = st.sampled_from(list(GOOD[dialect]))

    @settings(max_examples=150, database=None)
    @given(st.one_of(text, pieces, st.tuples(starts, pieces).map("".join)))
    def check(said):
        gui.parse(said, dialect)

    check()


def test_no_other_dialect():
    with pytest.raises(ValueError, match="not one of"):
        gui.parse("Wait", "voice")
    with pytest.raises(ValueError, match="cannot say"):
        gui.write(Drag((1, 2), (3, 4)), "web")
