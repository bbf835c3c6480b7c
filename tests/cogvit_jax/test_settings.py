"""Config sections become dataclasses: what is wrong is named, with its remedy."""

import dataclasses
from typing import Any

import pytest
from ml_collections import ConfigDict

from cogvit_jax import settings
from cogvit_jax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Section:
    steps: int
    lr: float = 1e-3
    name: str = "adam"
    flag: bool = False
    sizes: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    rules: tuple[Any, ...] = ()
    limit: int | None = None
    groups: Any = None


def read(**fields):
    return settings.read(Section, ConfigDict({"steps": 3} | fields), "config.train")


def test_reads_all_fields_and_defaults():
    section = read(lr=0.5, name="sgd", flag=True, sizes=(1, 2))
    assert section == Section(3, 0.5, "sgd", True, (1, 2))


@pytest.mark.parametrize(
    ("typo", "nearest"), [("stpes", "steps"), ("scalse", "scales"), ("rule", "rules")]
)
def test_typo_names_the_nearest_field(typo, nearest):
    with pytest.raises(ConfigError, match=rf"config\.train\.{typo}.*Did you mean '{nearest}'\?"):
        read(**{typo: 1})


def test_far_off_name_lists_the_choices_without_a_guess():
    with pytest.raises(
        ConfigError, match=r"config\.train\.zzzz is not known\. Choices: flag, "
    ) as e:
        read(zzzz=1)
    assert "Did you mean" not in str(e.value)


def test_missing_fields_are_named():
    with pytest.raises(ConfigError, match=r"config\.train lacks steps: add it"):
        settings.read(Section, ConfigDict({"lr": 1.0}), "config.train")


@pytest.mark.parametrize(
    ("field", "value", "given", "wanted"),
    [
        ("steps", "3", "str", "int"),
        ("steps", 3.0, "float", "int"),
        ("steps", True, "bool", "int"),
        ("lr", True, "bool", "float"),
        ("lr", "0.1", "str", "float"),
        ("flag", 1, "int", "bool"),
        ("name", 1, "int", "str"),
        ("limit", "x", "str", "int"),
        ("steps", None, "NoneType", "int"),
    ],
)
def test_wrong_type_is_refused(field, value, given, wanted):
    # A plain dict: ConfigDict itself guards against some type changes.
    with pytest.raises(ConfigError, match=rf"config\.train\.{field} = .* a {given}.* a {wanted}\."):
        settings.read(Section, {"steps": 3} | {field: value}, "config.train")


def test_only_lossless_changes():
    section = read(lr=2, sizes=[1, 2], scales=(1, 0.5))
    assert section.lr == 2.0
    assert isinstance(section.lr, float)
    assert section.sizes == (1, 2)
    assert [type(x) for x in section.scales] == [float, float]


@pytest.mark.parametrize(("field", "value"), [("sizes", 5), ("sizes", "12"), ("rules", "ab")])
def test_tuple_fields_refuse_scalars_and_strings(field, value):
    with pytest.raises(ConfigError, match=rf"config\.train\.{field} = .* must be a tuple"):
        read(**{field: value})


def test_items_of_tuples_are_checked():
    with pytest.raises(ConfigError, match=r"config\.train\.sizes = 0\.5"):
        read(sizes=(1, 0.5))


def test_optional_and_any():
    assert read(limit=None).limit is None
    assert read(limit=4).limit == 4
    assert read(groups=ConfigDict({"a": 1})).groups.a == 1


def test_computed_fields_count_as_given():
    assert settings.read(Section, ConfigDict(), "config.train", steps=7).steps == 7


def test_choose():
    choices = {"ring": 1, "all_gather": 2}
    assert settings.choose(choices, "ring", "config.loss.method") == 1
    with pytest.raises(ConfigError, match=r"config\.loss\.method = 'rings'.*Did you mean 'ring'"):
        settings.choose(choices, "rings", "config.loss.method")
