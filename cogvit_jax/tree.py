"""Parameter trees by path: `vision/blocks/mlp/up/kernel`; ordered `(regex, value)` rules."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from cogvit_jax.settings import ConfigError

Rules = Sequence[tuple[str, Any]]


def path_name(path: tuple[Any, ...]) -> str:
    """`a/b/c` for a JAX key path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """(path, leaf) pairs in tree order."""
    return [(path_name(p), x) for p, x in jax.tree_util.tree_leaves_with_path(tree)]


def map_named(fn: Callable[[str, Any], Any], tree: Any) -> Any:
    """`fn(path, leaf)` for every leaf."""
    return jax.tree_util.tree_map_with_path(lambda p, x: fn(path_name(p), x), tree)


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts from `a/b/c` names."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def split_floats(tree: Any) -> tuple[Any, Any]:
    """Two trees of the same shape: floating-point leaves, and the others; None elsewhere."""

    def pick(wanted: bool) -> Any:
        return jax.tree.map(
            lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) is wanted else None, tree
        )

    return pick(True), pick(False)


def merge(first: Any, second: Any) -> Any:
    """The tree whose leaves are those of `first`, and of `second` where it has None."""
    return jax.tree.map(lambda a, b: b if a is None else a, first, second, is_leaf=_is_none)


def _is_none(x: Any) -> bool:
    return x is None


def match(rules: Rules, name: str, field: str) -> Any:
    """The value of the first rule whose regex is found in `name`.

    Raises:
        ConfigError: no rule matches; names the config field that lacks one.
    """
    for pattern, value in rules:
        if re.search(pattern, name):
            return value
    raise ConfigError(
        f"{field} has no rule for parameter {name!r}: add one, or end with a ('.*', …) rule."
    )


def check_rules(rules: Rules, names: Sequence[str], field: str) -> None:
    """Raises ConfigError for a rule that is not a valid regex or that no parameter matches."""
    for pattern, _ in rules:
        try:
            used = any(re.search(pattern, name) for name in names)
        except re.error as error:
            raise ConfigError(f"{field}: {pattern!r} is no regular expression: {error}.") from None
        if not used:
            raise ConfigError(
                f"{field}: {pattern!r} matches no parameter. Parameters are named like "
                f"{', '.join(names[:3])}; remove or correct the rule."
            )
