"""Plain text in both languages, without a picture: so that text ability can be watched."""

import numpy as np

from cogvit_jax.data.rendering import texts
from cogvit_jax.data.rendering.canvas import pick, pick_some
from mmtp.data.records import Text
from mmtp.data.tasks.example import YES_NO, Example, ask, plain, say

_ARITHMETIC = {
    "en": ("What is {a} {op} {b}?", "{a} {op} {b} = ?", "Compute {a} {op} {b}."),
    "zh": ("{a} {op} {b} 等于多少？", "{a} {op} {b} = ?", "请计算 {a} {op} {b}。"),
}
_SORT = {
    "en": ("Sort from small to large: {items}", "Put in rising order: {items}"),
    "zh": ("从小到大排列：{items}", "按升序排列：{items}"),
}
_COPY = {
    "en": ("Repeat: {text}", "Copy this sentence: {text}", "Say again: {text}"),
    "zh": ("请重复：{text}", "抄写这句话：{text}", "再说一遍：{text}"),
}
_COMPARE = {
    "en": ("Is {a} larger than {b}?", "Is it true that {a} > {b}?"),
    "zh": ("{a}比{b}大吗？", "{a} > {b}，对吗？"),
}
_LOOKUP = {
    "en": ("{facts} What is the number for {good}?", "{facts} Give the number for {good}."),
    "zh": ("{facts}{good}有几个？", "{facts}请说出{good}的个数。"),
}
_STORY = {
    "en": (
        "{who} has {a} boxes of {good}. {other} brings {b} more. Now there are",
        "There were {a} packs of {good} in the room. {who} put in {b} more, and {other} counted",
    ),
    "zh": (
        "{who}有{a}个{good}，{other}又拿来{b}个，现在一共有",
        "箱子里有{a}个{good}，{who}又放进{b}个，{other}数了数：",
    ),
}
_FACTS = {
    "en": {
        "What is the capital of {}?": {
            "France": "Paris", "Italy": "Rome", "China": "Beijing", "Japan": "Tokyo",
            "Egypt": "Cairo", "Peru": "Lima", "Norway": "Oslo", "Spain": "Madrid",
        },
        "What is the opposite of {}?": {
            "hot": "cold", "big": "small", "day": "night", "open": "closed", "up": "down",
            "old": "new", "fast": "slow", "full": "empty",
        },
        "How many legs has a {}?": {
            "bird": "2", "cat": "4", "spider": "8", "bee": "6", "snake": "0",
        },
        "Which day comes after {}?": {
            "Monday": "Tuesday", "Tuesday": "Wednesday", "Wednesday": "Thursday",
            "Thursday": "Friday", "Friday": "Saturday", "Saturday": "Sunday", "Sunday": "Monday",
        },
        "What colour is {}?": {
            "grass": "green", "snow": "white", "coal": "black", "a ripe lemon": "yellow",
            "blood": "red", "a clear sky": "blue",
        },
    },
    "zh": {
        "{}的首都是哪里？": {
            "法国": "巴黎", "意大利": "罗马", "中国": "北京", "日本": "东京", "埃及": "开罗",
            "秘鲁": "利马", "挪威": "奥斯陆", "西班牙": "马德里",
        },
        "“{}”的反义词是什么？": {
            "热": "冷", "大": "小", "白天": "黑夜", "开": "关", "上": "下", "旧": "新",
            "快": "慢", "满": "空",
        },
        "{}有几条腿？": {"鸟": "2", "猫": "4", "蜘蛛": "8", "蜜蜂": "6", "蛇": "0"},
        "{}的后一天是星期几？": {
            "星期一": "星期二", "星期二": "星期三", "星期三": "星期四", "星期四": "星期五",
            "星期五": "星期六", "星期六": "星期日", "星期日": "星期一",
        },
        "{}是什么颜色？": {
            "草": "绿色", "雪": "白色", "煤": "黑色", "熟柠檬": "黄色", "血": "红色",
            "晴天": "蓝色",
        },
    },
}  # fmt: skip
_PEOPLE = {
    "en": ("Anna", "Peter", "Maria", "Tom", "Sara"),
    "zh": ("小王", "小李", "小明", "小红", "小张"),
}


def arithmetic(rng: np.random.Generator, language: str, split: str) -> Example:
    """A sum or difference of numbers up to 99, or a product of digits; some think first."""
    op = pick(rng, ("+", "-", "×"))
    a, b = (int(n) for n in (rng.integers(2, 10, 2) if op == "×" else rng.integers(1, 100, 2)))
    if op == "-" and b > a:
        a, b = b, a
    answer = str({"+": a + b, "-": a - b, "×": a * b}[op])
    question = say(rng, _ARITHMETIC, language, a=a, op=op, b=b)
    thinking = _steps(a, op, b) if rng.random() < 0.5 else ""
    return ask(rng, [], question, answer, thinking=thinking)


def _steps(a: int, op: str, b: int) -> str:
    """The sum by tens and ones; the product by adding up."""
    if op == "×":
        return " + ".join([str(a)] * b) + f" = {a * b}"
    tens, ones = b - b % 10, b % 10
    sign = 1 if op == "+" else -1
    return f"{a} {op} {tens} = {a + sign * tens}, {a + sign * tens} {op} {ones} = {a + sign * b}"


def sorting(rng: np.random.Generator, language: str, split: str) -> Example:
    """Three to five different numbers in rising order."""
    numbers = rng.choice(100, int(rng.integers(3, 6)), replace=False).tolist()
    question = say(rng, _SORT, language, items=", ".join(map(str, numbers)))
    return ask(rng, [], question, ", ".join(map(str, sorted(numbers))))


def comparing(rng: np.random.Generator, language: str, split: str) -> Example:
    """Whether one number is larger than another."""
    a, b = rng.choice(1000, 2, replace=False).tolist()
    answer = YES_NO[language][0 if a > b else 1]
    return ask(rng, [], say(rng, _COMPARE, language, a=a, b=b), answer, options=YES_NO[language])


def copying(rng: np.random.Generator, language: str, split: str) -> Example:
    """A sentence, word for word."""
    text = texts.sentence(rng, language)
    return ask(rng, [], say(rng, _COPY, language, text=text), text)


def facts(rng: np.random.Generator, language: str, split: str) -> Example:
    """Common facts; both splits ask the same ones."""
    question = pick(rng, tuple(_FACTS[language]))
    subject = pick(rng, tuple(_FACTS[language][question]))
    return ask(rng, [], question.format(subject), _FACTS[language][question][subject])


def lookup(rng: np.random.Generator, language: str, split: str) -> Example:
    """A number out of a few that were just told."""
    goods = pick_some(rng, texts.GOODS[language], 3)
    numbers = rng.choice(np.arange(2, 30), 3, replace=False).tolist()
    form = {"en": "{} {}", "zh": "{}{}个"}[language]
    told = [form.format(good, n) for good, n in zip(goods, numbers, strict=True)]
    stated = {"en": "In store: {}.", "zh": "有{}。"}[language].format(
        {"en": ", ", "zh": "，"}[language].join(told)
    )
    which = int(rng.integers(3))
    question = say(rng, _LOOKUP, language, facts=stated, good=goods[which])
    return ask(rng, [], question, str(numbers[which]))


def stories(rng: np.random.Generator, language: str, split: str) -> Example:
    """A plain document without turns: two sentences, and the number that follows from them."""
    who, other = pick_some(rng, _PEOPLE[language], 2)
    a, b = (int(n) for n in rng.integers(1, 20, 2))
    good = pick(rng, texts.GOODS[language])
    told = say(rng, _STORY, language, who=who, other=other, a=a, b=b, good=good)
    ending = {"en": f" {a + b}.", "zh": f"{a + b}个。"}[language]
    return plain([Text(f"{texts.sentence(rng, language)} {told}")], ending)
