"""Two sets of pictures that are drawn when they are read: instructions and scientific imagery.

Record i is a pure function of (set, split, i). Both splits come from the same drawing code with
other seeds: held-out accuracy on them measures learning, not generality beyond that code.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from cogvit_jax.data.records import Record, Source
from cogvit_jax.data.rendering import charts, diagrams, documents, fields, plots, screens, sky
from cogvit_jax.data.rendering.canvas import with_instruction
from cogvit_jax.data.rendering.texts import LANGUAGES

SPLITS = {"train": 4000, "heldout": 800}  # number of records
INSTRUCTION_SHARE = 0.35  # of the pictures with an instruction show it

# Set -> (English class name, Chinese class name, how it is drawn); index = label.
KINDS = {
    "instruct": (
        ("document page", "文档", documents.document),
        ("checklist", "任务清单", documents.checklist),
        ("table", "表格", documents.table),
        ("dialog window", "对话框", screens.dialog),
        ("menu", "菜单", screens.menu),
        ("form", "表单", screens.form),
        ("chart", "统计图", charts.chart),
    ),
    "science": (
        ("line plot", "线图", plots.line_plot),
        ("scatter plot", "散点图", plots.scatter_plot),
        ("bar chart", "条形图", plots.bar_chart),
        ("histogram", "直方图", plots.histogram),
        ("spectrum", "光谱", plots.spectrum),
        ("microscope image", "显微图像", fields.micrograph),
        ("contour map", "等高线图", fields.contour_map),
        ("vector field", "矢量场", fields.vector_field),
        ("star field", "星空", sky.star_field),
        ("network diagram", "网络图", diagrams.network),
        ("circuit diagram", "电路图", diagrams.circuit),
        ("molecule", "分子", diagrams.molecule),
    ),
}
TEMPLATES = {
    "instruct": {"en": ("a picture of a {}", "a {} on a screen", "{}"), "zh": ("一个{}", "{}")},
    "science": {"en": ("a {}", "a scientific figure: a {}", "{}"), "zh": ("一张{}", "{}")},
}


@dataclass(frozen=True)
class RenderedRecords:
    """Records that are drawn on access.

    Attributes:
        name: "instruct" or "science".
        split: "train" or "heldout".
    """

    name: str
    split: str

    def __len__(self) -> int:
        """Number of records of the split."""
        return SPLITS[self.split]

    def __getitem__(self, index: int) -> Record:
        """Draws record `index`: kinds in turn, the language at random."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}/{self.split} has {len(self)} records; asked for {index}")
        rng = np.random.default_rng((zlib.crc32(f"{self.name}/{self.split}".encode()), index))
        label = index % len(KINDS[self.name])
        draw = KINDS[self.name][label][2]
        drawing = draw(rng, LANGUAGES[rng.integers(2)])
        pixels = drawing.pixels
        if drawing.instruction and rng.random() < INSTRUCTION_SHARE:
            pixels = with_instruction(rng, pixels, drawing.instruction)
        return Record(
            id=f"{self.name}/{self.split}/{index:05d}",
            image=pixels,
            captions=drawing.english + drawing.chinese,
            concept=drawing.concept,
            label=label,
        )


def open_rendered(name: str, split: str) -> Source:
    """Opens a set of drawn pictures: uint8 `[h, w, 3]` of about 224 * 224 pixels.

    instruct: pages, checklists, tables, dialogs, menus, forms and charts, each with an instruction
    or a question and its answer in the captions. science: plots, spectra, micrographs, fields,
    star fields and diagrams. Text in the pictures is English or Chinese, captions are both.

    Args:
        name: a key of KINDS.
        split: a key of SPLITS.
    """
    english, chinese, _ = zip(*KINDS[name], strict=True)
    return Source(
        name=f"embedded:{name}/{split}",
        records=RenderedRecords(name, split),
        classes={"en": english, "zh": chinese},
        templates=TEMPLATES[name],
        flippable=False,
    )
