"""Words on drawn screens, in both languages: only characters of the drawing font."""

from cogvit_jax.data.rendering import texts

TOGGLES = {
    "en": (
        "Wi-Fi", "Bluetooth", "Location", "Dark mode", "Sounds", "Auto save", "Backup", "Sync",
        "Alerts", "Night mode", "Updates", "Saver", "Captions", "Autoplay", "Hotspot", "Flight",
        "Large text", "Animation", "Hints", "Proofreading", "Background", "Images", "Watermark",
        "Magnifier", "Page numbers", "Line numbers", "Grid lines", "Password",
    ),
    "zh": (
        "定位", "夜间模式", "通知", "网络", "打印", "同步", "蓝牙", "热点", "飞行模式", "密码",
        "安全模式", "大字", "彩色", "动画", "提示", "校对", "背景", "显示图片", "信任", "水印",
        "放大镜", "页码", "行号", "网格线", "快进",
    ),
}  # fmt: skip
CHOICES = {
    "en": {
        "Size": ("Small", "Medium", "Large"),
        "Colour": ("Red", "Green", "Blue", "Black", "White"),
        "Language": ("English", "Chinese", "French", "German"),
        "Seat": ("Window", "Middle", "Aisle"),
        "Travel by": ("Train", "Plane", "Boat", "Bus"),
        "Sort by": ("Name", "Date", "Length", "Price"),
        "Repeat": ("Never", "Daily", "Weekly", "Monthly"),
        "Priority": ("Low", "Normal", "High"),
        "Drink": ("Tea", "Coffee", "Water", "Juice"),
        "Place": ("School", "Station", "Market", "Museum"),
        "Format": ("PDF", "PNG", "HTML"),
        "Meal": ("Rice", "Noodles", "Soup"),
        "Shape": ("Round", "Square", "Star"),
        "Tempo": ("Slow", "Medium speed", "Fast"),
    },
    "zh": {
        "大小": ("小号", "中号", "大号"),
        "颜色": ("红色", "绿色", "蓝色", "黑色", "白色"),
        "文字": ("中文", "法文", "德文", "西文"),
        "出行": ("火车", "飞机", "船", "公交"),
        "次序": ("名字", "时间", "长度", "价格"),
        "重要性": ("低", "中", "高"),
        "杯子里": ("茶", "咖啡", "水"),
        "地点": ("学校", "车站", "市场", "桥头"),
        "格式": ("文本", "图片", "网页"),
        "吃什么": ("米饭", "面", "牛肉"),
        "形状": ("圆形", "方形", "星形"),
        "位子": ("左边", "中间", "右边"),
    },
}  # fmt: skip
SLIDERS = {
    "en": ("Volume", "Brightness", "Contrast", "Speed", "Zoom", "Warmth"),
    "zh": ("亮度", "缩放", "字号", "对比", "深浅", "力度", "高度"),
}
FACTS = {
    "en": ("Balance", "Points", "Steps", "Battery", "Distance", "Orders", "Visitors", "Weight"),
    "zh": ("总数", "积分", "步数", "电量", "人数", "里程", "价格", "重量"),
}
TITLES = {
    "desktop": {"en": ("Options", "Report", "Booking"), "zh": ("选项", "表单", "工作表")},
    "mobile": {"en": ("Settings", "My phone", "Control"), "zh": ("设定", "手机", "我的应用")},
    "web": {"en": ("Good Shop", "City Store", "Fresh Market"), "zh": ("好市场", "百花市场")},
}  # fmt: skip
SENT = {"en": "Done: {}", "zh": "已完成：{}"}
STEPPERS, LISTS = texts.GOODS, texts.ITEMS
BUTTONS, FIELDS, PAGES = texts.BUTTONS, texts.FIELDS, texts.MENU


def drawn() -> set[str]:
    """Every character that screens may show."""
    tables = (TOGGLES, SLIDERS, FACTS, SENT, STEPPERS, LISTS, BUTTONS, PAGES, *TITLES.values())
    words = [word for table in tables for language in table for word in table[language]]
    for nested in (CHOICES, FIELDS):
        for table in nested.values():
            words += [*table, *(word for values in table.values() for word in values)]
    return set("".join(words))
