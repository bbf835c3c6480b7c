"""All categories, by name. To add one: a file, an import, and a line in `CATEGORIES`."""

from rl.envs import attributes
from rl.envs.category import Category
from rl.envs.category import make_task as make_task
from rl.envs.environment import Environment as Environment

CATEGORIES: dict[str, Category] = {
    "attributes": attributes.CATEGORY,
}
