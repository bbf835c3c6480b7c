"""How the questions about screens say which actions there are, in three dialects."""

ACTIONS = {
    "mobile": {
        "en": (
            "You use a phone. Answer with one action as JSON, boxes in thousandths of the screen: "
            '{"action_type": "click", "box_2d": [[x1,y1,x2,y2]]}, '
            '{"action_type": "input_text", "text": "...", "box_2d": [[x1,y1,x2,y2]], '
            '"override": true} (replaces the text), '
            '{"action_type": "swipe", "direction": "up"} (shows what is further down), '
            '{"action_type": "navigate_back"}, {"action_type": "wait"}, '
            '{"action_type": "answer", "text": "..."} or '
            '{"action_type": "status", "goal_status": "complete"} when all is done.'
        ),
        "zh": (
            "你在用手机。每次只回答一个JSON动作，方框是屏幕宽高的千分之几："
            '{"action_type": "click", "box_2d": [[x1,y1,x2,y2]]}、'
            '{"action_type": "input_text", "text": "...", "box_2d": [[x1,y1,x2,y2]], '
            '"override": true}（替换原文字）、'
            '{"action_type": "swipe", "direction": "up"}（看下面的内容）、'
            '{"action_type": "navigate_back"}、{"action_type": "wait"}、'
            '{"action_type": "answer", "text": "..."}，全部做完时'
            '{"action_type": "status", "goal_status": "complete"}。'
        ),
    },
    "pc": {
        "en": (
            "You use a computer. Answer with one action, points in thousandths of the screen: "
            "left_click(start_box='[x,y]', element_info=''), "
            "left_drag(start_box='[x1,y1]', end_box='[x2,y2]', element_info=''), "
            "scroll(start_box='[x,y]', direction='down', step=5), key(keys='ctrl+a'), "
            "type(content='...') (at the caret; ctrl+a first to replace a text), WAIT(), "
            "FAIL() or DONE()."
        ),
        "zh": (
            "你在用电脑。每次只回答一个动作，坐标是屏幕宽高的千分之几："
            "left_click(start_box='[x,y]', element_info='')、"
            "left_drag(start_box='[x1,y1]', end_box='[x2,y2]', element_info='')、"
            "scroll(start_box='[x,y]', direction='down', step=5)、key(keys='ctrl+a')、"
            "type(content='...')（写在光标处；要替换先按ctrl+a）、WAIT()、FAIL()、DONE()。"
        ),
    },
    "web": {
        "en": (
            "You use a web page whose elements wear numbers. Answer with one action: Click [3], "
            "Type [3]; [the new text], Scroll [WINDOW]; [down], GoBack, Wait or "
            "ANSWER; <content>...</content> when all is done."
        ),
        "zh": (
            "你在用一个网页，可以操作的地方都有编号。每次只回答一个动作：Click [3]、"
            "Type [3]; [新的文字]、Scroll [WINDOW]; [down]、GoBack、Wait，全部做完时"
            "ANSWER; <content>...</content>。"
        ),
    },
}
GOAL = {"en": "Goal: {}{}", "zh": "目标：{}{}"}
NEXT = {"en": "Give only the next action.", "zh": "只给出下一个动作。"}
NOTHING = {
    "en": "That was no action that is possible here: nothing has changed.",
    "zh": "这里没有这样的动作，什么都没有改变。",
}
