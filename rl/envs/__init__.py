"""All categories, by name. To add one: a file, an import, and a line in `CATEGORIES`."""

from rl.envs import (
    attributes,
    chart_reasoning,
    chart_to_csv,
    chart_value,
    counterfactual,
    counting,
    detection,
    formulas,
    free_space,
    handwriting,
    illusions,
    photo_match,
    pointing,
    printed_words,
    referring,
    segmentation,
    spot_difference,
    table_qa,
    table_to_html,
    tiny_object,
)
from rl.envs.category import Category
from rl.envs.category import make_task as make_task
from rl.envs.environment import Environment as Environment

CATEGORIES: dict[str, Category] = {
    "attributes": attributes.CATEGORY,
    "counting": counting.CATEGORY,
    "tiny_object": tiny_object.CATEGORY,
    "spot_difference": spot_difference.CATEGORY,
    "counterfactual": counterfactual.CATEGORY,
    "illusions": illusions.CATEGORY,
    "photo_match": photo_match.CATEGORY,
    "printed_words": printed_words.CATEGORY,
    "formulas": formulas.CATEGORY,
    "handwriting": handwriting.CATEGORY,
    "referring": referring.CATEGORY,
    "detection": detection.CATEGORY,
    "pointing": pointing.CATEGORY,
    "free_space": free_space.CATEGORY,
    "segmentation": segmentation.CATEGORY,
    "chart_value": chart_value.CATEGORY,
    "chart_reasoning": chart_reasoning.CATEGORY,
    "chart_to_csv": chart_to_csv.CATEGORY,
    "table_to_html": table_to_html.CATEGORY,
    "table_qa": table_qa.CATEGORY,
}
