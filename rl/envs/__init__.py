"""All categories, by name. To add one: a file, an import, and a line in `CATEGORIES`."""

from rl.envs import (
    attributes,
    chart_reasoning,
    chart_to_csv,
    chart_value,
    detection,
    free_space,
    pointing,
    referring,
    segmentation,
    table_qa,
    table_to_html,
)
from rl.envs.category import Category
from rl.envs.category import make_task as make_task
from rl.envs.environment import Environment as Environment

CATEGORIES: dict[str, Category] = {
    "attributes": attributes.CATEGORY,
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
