"""Hand-written English and Chinese captions for the pictures inside scikit-image and scikit-learn.

Captions never name a left or right side, so they stay true of a mirrored picture.
"""

# Path below site-packages -> (split, concept, captions).
PHOTOS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "skimage/data/astronaut.png": (
        "train",
        "astronaut",
        (
            "a smiling woman astronaut in an orange space suit",
            "portrait of an astronaut with a white helmet, a flag and a model of a space shuttle",
            "一位穿着橙色宇航服微笑的女宇航员",
            "宇航员的肖像，旁边有白色头盔、旗帜和航天飞机模型",
        ),
    ),
    "skimage/data/brick.png": (
        "train",
        "bricks",
        (
            "a grey photo of rows of long bricks with light joints",
            "texture of a brick surface in black and white",
            "一排排长砖的灰度照片，砖缝是浅色的",
            "黑白的砖面纹理",
        ),
    ),
    "skimage/data/camera.png": (
        "train",
        "photographer",
        (
            "a black and white photo of a man looking through a camera on a tripod",
            "a photographer in a dark coat on a lawn, with buildings far behind him",
            "一个男人正在看三脚架上的相机，黑白照片",
            "穿深色大衣的摄影师站在草地上，远处有楼房",
        ),
    ),
    "skimage/data/cell.png": (
        "train",
        "cell",
        (
            "one bright round cell on a dark grey ground, seen through a microscope",
            "a microscope picture of a single white cell",
            "显微镜下深灰色背景上的一个明亮的圆形细胞",
            "单个白色细胞的显微图像",
        ),
    ),
    "skimage/data/chelsea.png": (
        "train",
        "cat",
        (
            "a close photo of a tabby cat with yellow green eyes and white whiskers",
            "the face of a brown striped cat with a pink nose",
            "一只虎斑猫的近照，黄绿色的眼睛，白色的胡须",
            "一只棕色条纹猫的脸，鼻子是粉红色的",
        ),
    ),
    "skimage/data/chessboard_GRAY.png": (
        "train",
        "chessboard",
        (
            "a chessboard pattern of black and white squares",
            "a black and white checkered board",
            "黑白相间的棋盘格图案",
            "由黑色和白色方块组成的棋盘",
        ),
    ),
    "skimage/data/clock_motion.png": (
        "train",
        "blurred clock",
        (
            "a blurred grey picture of a round clock",
            "a clock face smeared by motion",
            "一个圆形时钟的模糊灰色图像",
            "因运动而模糊的钟面",
        ),
    ),
    "skimage/data/coffee.png": (
        "train",
        "coffee",
        (
            "a cup of espresso coffee in a red cup on a red saucer",
            "coffee with a small metal spoon on a brown wooden table",
            "红色杯碟里的一杯浓缩咖啡",
            "棕色木桌上的咖啡和一把小金属勺",
        ),
    ),
    "skimage/data/coins.png": (
        "heldout",
        "coins",
        (
            "four rows of old coins on a dark ground",
            "a grey photo of many ancient round coins",
            "深色背景上的四排古老硬币",
            "许多古代圆形硬币的灰度照片",
        ),
    ),
    "skimage/data/color.png": (
        "train",
        "colour wheel",
        (
            "a round colour wheel with all the colours of the rainbow on black",
            "a circle going from white in the middle to red, yellow, green, blue and purple",
            "黑色背景上包含彩虹所有颜色的圆形色轮",
            "一个圆，从中间的白色变到红、黄、绿、蓝、紫",
        ),
    ),
    "skimage/data/grass.png": (
        "train",
        "grass",
        (
            "a grey photo of grass and small leaves from above",
            "texture of a lawn in black and white",
            "从上方拍摄的草和小叶子的灰度照片",
            "黑白的草地纹理",
        ),
    ),
    "skimage/data/gravel.png": (
        "heldout",
        "gravel",
        (
            "a grey photo of gravel made of many small stones",
            "texture of small broken stones on the ground",
            "由许多小石头组成的碎石的灰度照片",
            "地面上小碎石的纹理",
        ),
    ),
    "skimage/data/horse.png": (
        "train",
        "horse",
        (
            "the black silhouette of a standing horse on white",
            "a drawing of a horse seen from the side, all in black",
            "白色背景上一匹站立的马的黑色剪影",
            "一匹马的侧面图，全是黑色",
        ),
    ),
    "skimage/data/hubble_deep_field.jpg": (
        "train",
        "galaxies",
        (
            "hundreds of distant galaxies in deep black space",
            "a telescope picture of stars and galaxies, white, orange and blue",
            "漆黑太空中数百个遥远的星系",
            "望远镜拍到的星星和星系，有白色、橙色和蓝色",
        ),
    ),
    "skimage/data/ihc.png": (
        "train",
        "stained tissue",
        (
            "brown stained tissue with small blue nuclei under a microscope",
            "a microscope slide of glands coloured brown and blue",
            "显微镜下染成棕色的组织，带有小小的蓝色细胞核",
            "染成棕色和蓝色的腺体显微切片",
        ),
    ),
    "skimage/data/logo.png": (
        "train",
        "logo",
        (
            "a round logo with the head of a snake in green and orange",
            "a green and orange circle with a drawing of a snake",
            "一个绿色和橙色的圆形标志，上面有蛇头",
            "绿色和橙色的圆，里面画着一条蛇",
        ),
    ),
    "skimage/data/microaneurysms.png": (
        "heldout",
        "retina detail",
        (
            "a small grey detail of a retina with dark blood vessels",
            "thin dark vessels crossing a grey retina",
            "视网膜的灰色小局部，带有深色血管",
            "细细的深色血管穿过灰色的视网膜",
        ),
    ),
    "skimage/data/moon.png": (
        "heldout",
        "moon",
        (
            "the grey surface of the moon with craters",
            "a round crater on the moon, seen from above",
            "带有陨石坑的灰色月球表面",
            "从上方看到的月球上的圆形陨石坑",
        ),
    ),
    "skimage/data/motorcycle_left.png": (
        "train",
        "motorcycle",
        (
            "a red motorcycle with a black seat standing in a garage",
            "a motorcycle in front of shelves full of boxes and tools",
            "一辆红色摩托车停在车库里，座位是黑色的",
            "摩托车停在放满箱子和工具的架子前",
        ),
    ),
    "skimage/data/motorcycle_right.png": (
        "train",
        "motorcycle",
        (
            "a parked red motorcycle on the floor of a workshop",
            "the side of a red motorcycle with two black wheels",
            "工作间地面上停着一辆红色摩托车",
            "一辆红色摩托车的侧面，有两个黑色车轮",
        ),
    ),
    "skimage/data/page.png": (
        "train",
        "printed page",
        (
            "a photo of a printed page with a heading and a paragraph of text",
            "black printed words on grey paper, unevenly lit",
            "一页印刷文字的照片，有标题和一段正文",
            "灰色纸上的黑色印刷字，光线不均匀",
        ),
    ),
    "skimage/data/phantom.png": (
        "train",
        "head phantom",
        (
            "a test picture of a head made of grey ellipses inside a white ring",
            "grey and black ellipses in a white oval on black",
            "由白色圆环内的灰色椭圆组成的头部测试图",
            "黑色背景上白色椭圆里的灰色和黑色椭圆",
        ),
    ),
    "skimage/data/retina.jpg": (
        "train",
        "retina",
        (
            "the orange red retina of an eye with branching blood vessels",
            "a medical photo of the back of an eye with a bright round spot",
            "眼睛的橙红色视网膜，带有分叉的血管",
            "眼底的医学照片，有一个明亮的圆点",
        ),
    ),
    "skimage/data/rocket.jpg": (
        "heldout",
        "rocket",
        (
            "a white rocket standing on the launch pad in the evening",
            "a rocket between tall towers with bright lamps under a dark blue sky",
            "傍晚一枚白色火箭立在发射台上",
            "深蓝色天空下，火箭立在高塔和明亮的灯之间",
        ),
    ),
    "skimage/data/text.png": (
        "heldout",
        "handwriting",
        (
            "handwritten formulas on ruled grey paper",
            "a slanted photo of mathematics written with a dark pen",
            "横线灰纸上的手写公式",
            "一张倾斜的照片，用深色笔写的数学",
        ),
    ),
    "sklearn/datasets/images/china.jpg": (
        "train",
        "pavilion",
        (
            "a tall Chinese pavilion with orange and green roofs above a lake",
            "an old red tower with tiled roofs among green trees under a pale sky",
            "湖边一座高高的中国楼阁，屋顶是橙色和绿色的",
            "淡色天空下绿树中的古老红色塔楼，铺着瓦顶",
        ),
    ),
    "sklearn/datasets/images/flower.jpg": (
        "train",
        "flower",
        (
            "a round orange dahlia flower with many petals",
            "an orange flower in front of dark green leaves",
            "一朵有许多花瓣的圆形橙色大丽花",
            "深绿色叶子前的一朵橙色的花",
        ),
    ),
}
