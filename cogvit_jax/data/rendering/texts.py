"""Words and sentences that pictures show: what they draw has only characters of the font."""

import numpy as np

from cogvit_jax.data.rendering.canvas import pick

LANGUAGES = ("en", "zh")

TITLES = {
    "en": (
        "Weekly report", "Meeting notes", "Travel plan", "Market news", "Lab journal",
        "Garden diary", "Annual review", "User guide", "Safety rules", "Museum visit",
        "City history", "Project status", "Winter menu", "Water supply", "Night train",
        "Reading list", "Bird watching", "Open questions", "Letter to Anna", "Final results",
    ),
    "zh": (
        "工作安排", "会上的意见", "学生心得", "北方市场", "最后的结果", "花与草", "年度总结",
        "上山须知", "安全规定", "山中一日", "城市的形成", "目前的工作", "冬天的花", "水的作用",
        "火车", "一本书", "看鸟", "开放的问题", "来信", "我的家",
    ),
}  # fmt: skip

_SENTENCES = {
    "en": (
        "The {noun} near the {place} is {quality}.",
        "We saw a {quality} {noun} in the {place}.",
        "Nobody knows why the {noun} was left at the {place}.",
        "In {month} the {place} will be open until nine.",
        "Please bring {number} of them to the {place}.",
        "A {noun} costs {number} in {month}.",
        "It was {quality}, and so was the {place}.",
        "About {number} people came to the {place}.",
    ),
    "zh": (
        "{place}里的{noun}很{quality}。",
        "我们在{place}看见{quality}的{noun}。",
        "没有人知道{noun}为什么在{place}。",
        "{month}的时候，{place}一直开放到九点。",
        "{number}个{noun}放在{place}就好。",
        "{month}我们看了{number}个{noun}。",
        "{noun}和{place}都很{quality}。",
        "有{number}个人来到了{place}。",
    ),
}
_PARTS = {
    "en": {
        "noun": ("lamp", "bicycle", "old clock", "camera", "map", "boat", "red box", "horse"),
        "place": ("station", "theatre", "harbour", "market", "school", "museum", "bridge", "park"),
        "quality": ("small", "quiet", "beautiful", "heavy", "useful", "bright", "rare", "green"),
        "month": ("January", "March", "May", "July", "August", "October", "December"),
    },
    "zh": {
        "noun": ("灯", "车", "时钟", "相机", "地图", "船", "红箱子", "马"),
        "place": ("车站", "草地", "市场", "学校", "山上", "桥头", "城里", "工厂"),
        "quality": ("小", "美", "重要", "好", "有用", "亮", "有意思", "安定"),
        "month": ("一月", "三月", "五月", "七月", "八月", "十月", "冬天"),
    },
}
ITEMS = {
    "en": (
        "buy bread", "call Anna", "water plants", "pay the rent", "clean windows", "fix the door",
        "read chapter 4", "book a flight", "send the letter", "feed the cat", "print photos",
        "wash the car", "visit grandma", "write tests", "charge camera",
    ),
    "zh": (
        "写信", "打电话", "种花", "看书", "打印照片", "去学校", "接人", "带水果", "做饭", "跑步",
        "看医生", "打印文件", "通知小王", "开会", "放好书本",
    ),
}  # fmt: skip
BUTTONS = {
    "en": (
        "OK", "Save", "Cancel", "Open", "Close", "Delete", "Submit", "Print", "Next", "Back",
        "Apply", "Update", "Upload", "Retry", "Agree", "Help", "Share", "Log in", "Send", "Skip",
    ),
    "zh": (
        "确定", "打开", "提交", "打印", "更新", "上传", "应用", "同意", "下一步", "上一步", "确认",
        "导入", "导出", "新建", "放大", "关于", "接受", "前进", "全部", "发布",
    ),
}  # fmt: skip
MENU = {
    "en": (
        "File", "Edit", "View", "Search", "Tools", "Window", "Help", "Settings", "Account",
        "Messages", "Photos", "Music", "Calendar", "Downloads", "Contacts", "Notes", "Weather",
    ),
    "zh": (
        "文件", "视图", "工具", "信件", "照片", "地图", "应用", "设定", "成员", "日程", "数学",
        "电话", "时间", "相机", "图书", "关于", "安全",
    ),
}  # fmt: skip
MESSAGES = {
    "en": (
        "The file has changed.", "A new version is ready.", "No connection to the server.",
        "Delete all selected photos?", "Your order was sent.", "The disk is almost full.",
        "Leave this page?", "Wrong password.", "Print two copies?", "Restart the computer now?",
    ),
    "zh": (
        "文件有了变化。", "新的应用已经可用。", "网线没有接好。", "真的不要全部照片了？",
        "你的信已经发出。", "空间很小了。", "要离开这一页？", "名字不对。", "打印两页？",
        "现在更新？",
    ),
}  # fmt: skip
GOODS = {
    "en": (
        "tea", "coffee", "bread", "milk", "rice", "fish", "apples", "flowers", "paper", "pens",
        "lamps", "hats", "shoes", "boxes", "maps",
    ),
    "zh": (
        "茶", "咖啡", "大米", "牛肉", "鱼", "水果", "花", "纸", "笔", "灯", "帽子", "鞋", "箱子",
        "地图", "鸡",
    ),
}  # fmt: skip
COLUMNS = {
    "en": ("price", "count", "weight", "days", "2023", "2024", "2025"),
    "zh": ("总数", "个数", "重量", "天数", "2023", "2024", "2025"),
}
FIELDS = {
    "en": {
        "Name": ("Anna", "Peter", "Maria", "Li Wei", "Tom", "Sara", "John"),
        "City": ("Oslo", "Paris", "Rome", "Beijing", "Cairo", "Lima", "Delhi"),
        "Phone": ("555-0142", "555-0178", "555-0101", "555-0163"),
        "Date": ("3 May", "17 July", "1 June", "29 Oct"),
        "Email": ("a@mail.org", "box@mail.org", "me@home.net"),
        "Age": ("18", "25", "31", "44", "59", "67"),
        "Room": ("12", "204", "7B", "31"),
        "Country": ("Norway", "France", "China", "Egypt", "Peru"),
    },
    "zh": {
        "人名": ("王小花", "马力", "石明", "马天", "金美", "方正"),
        "城市": ("北市", "上海", "西安", "海口", "长春"),
        "电话": ("555-0142", "555-0178", "555-0101", "555-0163"),
        "时间": ("5月3日", "7月17日", "6月1日", "10月29日"),
        "身高": ("150", "162", "171", "180"),
        "工作": ("教师", "医生", "工人", "军人", "记者"),
        "部门": ("市场部", "教学部", "工程部"),
        "国家": ("中国", "法国", "德国", "美国"),
    },
}


def sentence(rng: np.random.Generator, language: str) -> str:
    """One sentence out of some tens of thousands."""
    words = {name: pick(rng, choices) for name, choices in _PARTS[language].items()}
    words["number"] = str(rng.integers(2, 90))
    return pick(rng, _SENTENCES[language]).format(**words)


def drawn() -> set[str]:
    """Every character that pictures may show."""
    tables = (TITLES, ITEMS, BUTTONS, MENU, MESSAGES, GOODS, COLUMNS, _SENTENCES)
    texts = [text for table in tables for language in LANGUAGES for text in table[language]]
    for language in LANGUAGES:
        for parts in (_PARTS[language], FIELDS[language]):
            texts += [text for words in parts.values() for text in words]
        texts += FIELDS[language]
    return set("".join(texts))
