"""`config.rewards`: which verifiers are asked of which source, and their limits."""

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cogvit_jax import settings
from cogvit_jax.settings import ConfigError, choose, unknown
from rl.rewards import endpoints, judges, local
from rl.rewards.aggregate import AGGREGATIONS, MAX_PARTS, Recipe
from rl.rewards.judge_requests import JudgeSettings

RULE, JUDGE = "rule", "judge:"


@dataclass(frozen=True)
class RewardSettings:
    """`config.rewards`.

    Attributes:
        recipes: name -> `Recipe`.
        sources: ordered (tag or glob, recipe): a tag's own line, else the first glob that fits.
        default: recipe of all other tags; "" = they are an error.
        endpoints: name -> `EndpointSettings`.
        judges: name -> `JudgeSettings`.
        local: of "format", "language" and "length".
        threads: rules that run at a time.
        rule_seconds: after which a rule has failed.
        cache_size: judges' verdicts in memory.
        cache_path: SQLite file of judges' verdicts; "" = none.
        secret_variable: environment variable that holds what policies cannot know; "" = drawn anew.
    """

    recipes: Any
    sources: tuple[tuple[str, str], ...]
    default: str = ""
    endpoints: Any = ()
    judges: Any = ()
    local: Any = ()
    threads: int = 8
    rule_seconds: float = 30.0
    cache_size: int = 100_000
    cache_path: str = ""
    secret_variable: str = ""


def read(section: Any, path: str = "config.rewards") -> RewardSettings:
    """Settings from a config's section.

    Raises:
        ConfigError: a field is unknown, missing or out of range.
    """
    fields = dict(section)
    kinds = {
        "recipes": Recipe,
        "endpoints": endpoints.EndpointSettings,
        "judges": JudgeSettings,
    }
    tables = {
        table: {
            name: settings.read(kind, entry, f"{path}.{table}.{name}")
            for name, entry in dict(fields.pop(table, {})).items()
        }
        for table, kind in kinds.items()
    }
    limits = settings.read(local.LocalSettings, fields.pop("local", {}), f"{path}.local")
    options = settings.read(RewardSettings, fields, path, local=limits, **tables)
    local.check(limits, f"{path}.local")
    for name, endpoint in options.endpoints.items():
        endpoints.check(endpoint, f"{path}.endpoints.{name}")
    for name, judge in options.judges.items():
        judges.check(judge, options.endpoints, f"{path}.judges.{name}")
    for name, recipe in options.recipes.items():
        _check_recipe(recipe, options.judges, f"{path}.recipes.{name}")
    for tag, name in options.sources:
        choose(options.recipes, name, f"{path}.sources: recipe of {tag!r}")
    if options.default:
        choose(options.recipes, options.default, f"{path}.default")
    if options.secret_variable and options.secret_variable not in os.environ:
        raise ConfigError(f"{path}.secret_variable: {options.secret_variable} is not set.")
    return options


def recipe_of(options: RewardSettings, source: str) -> tuple[str, Recipe]:
    """The recipe of a data-source tag, and its name.

    Raises:
        ConfigError: there is none; names the nearest tags.
    """
    own = [name for tag, name in options.sources if tag == source]
    fits = [name for tag, name in options.sources if fnmatch.fnmatchcase(source, tag)]
    name = (own or fits or [options.default])[0]
    if not name:
        tags = [tag for tag, _ in options.sources]
        raise ConfigError(unknown(f"data source {source!r} has no recipe: it", source, tags))
    return name, options.recipes[name]


def _check_recipe(recipe: Recipe, judges_known: Mapping[str, object], path: str) -> None:
    choose(AGGREGATIONS, recipe.aggregation, f"{path}.aggregation")
    names = [RULE, *local.VERIFIERS, *(f"{JUDGE}{name}" for name in judges_known)]
    if not 1 <= len(recipe.verifiers) <= MAX_PARTS:
        raise ConfigError(f"{path}.verifiers = {recipe.verifiers} must be 1 … {MAX_PARTS}.")
    if len(set(recipe.verifiers)) < len(recipe.verifiers):
        raise ConfigError(f"{path}.verifiers = {recipe.verifiers} has one twice.")
    for verifier in recipe.verifiers:
        choose(dict.fromkeys(names), verifier, f"{path}.verifiers")
    if recipe.aggregation in ("gate", "format_times_correctness") and len(recipe.verifiers) < 2:
        raise ConfigError(f"{path}.verifiers: {recipe.aggregation} needs two or more.")
    if recipe.weights and len(recipe.weights) != len(recipe.verifiers):
        raise ConfigError(f"{path}.weights must be as many as the verifiers.")
    if any(weight <= 0 for weight in recipe.weights) or not 0 <= recipe.threshold <= 1:
        raise ConfigError(f"{path}: weights must be more than 0, threshold 0 … 1.")
