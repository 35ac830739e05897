"""Declarations of settings: the base class, and markers for fields that need more than pydantic-settings offers.

A field is read from the variable `<env_prefix><FIELD>`. `Field(validation_alias=AliasChoices("JWT_SECRET", …))` names its
variables instead; the first is the preferred one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from portico.kit.settings.errors import SettingsError

M = TypeVar("M")


class ServiceSettings(BaseSettings):
    """Base of a service's own settings: `class OrdersSettings(ServiceSettings, env_prefix="ORDERS_")`.

    Creating an instance reads nothing from the environment; `read_settings` does.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=False,
        validate_by_name=True,
        loc_by_alias=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 pydantic-settings passes all sources
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@dataclass(frozen=True)
class Converted:
    """Marks a field with an alias in another unit.

    Args:
        variable: the alias.
        convert: turns the alias's text into the field's value; raises ValueError with advice.
    """

    variable: str
    convert: Callable[[str], Any]


@dataclass(frozen=True)
class BySuffix:
    """Marks a mapping that is collected from all variables that end in `suffix`, keyed by the rest of their names."""

    suffix: str


@dataclass(frozen=True)
class Generated:
    """Marks a secret that is generated if it is not set and the system runs on this machine alone.

    Args:
        when: whether the secret is needed, given the other settings.
    """

    when: Callable[[Any], bool] = lambda _settings: True


@dataclass(frozen=True)
class NamesServer:
    """Marks an address of a server, whose password is checked and which makes the system's secrets mandatory."""


@dataclass(frozen=True)
class OnlyInEnvironment:
    """Marks a setting that is read before `.env`, which therefore cannot set it."""


def marker(field: FieldInfo, kind: type[M]) -> M | None:
    """Return the field's marker of this kind."""
    return next((each for each in field.metadata if isinstance(each, kind)), None)


def variables_of(kind: type[BaseSettings], name: str) -> tuple[str, ...]:
    """Return the variables that set a field, the preferred one first."""
    field = kind.model_fields[name]
    if (collected := marker(field, BySuffix)) is not None:
        return ("{NAME}" + collected.suffix,)
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (str(alias) if alias is not None else f"{kind.model_config['env_prefix']}{name}".upper(),)


def all_variables(kinds: Iterable[type[BaseSettings]], services: Iterable[str]) -> frozenset[str]:
    """Return the variables that set a field of the settings classes, for a system of these services."""
    prefixes = [name.replace("-", "_").upper() for name in services]
    return frozenset(
        variable.replace("{NAME}", prefix)
        for kind in kinds
        for variable in _all_variables(kind)
        for prefix in (prefixes if "{NAME}" in variable else [""])
    )


def check_variables(kinds: Mapping[str, type[BaseSettings]]) -> None:
    """Reject variables that several owners read.

    Args:
        kinds: the settings classes of a process or system, by owner (a service's name).

    Raises:
        SettingsError: a variable sets fields of two owners.
    """
    owners: dict[str, str] = {}
    distinct: dict[type[BaseSettings], str] = {}
    for owner, kind in kinds.items():
        distinct.setdefault(kind, owner)  # services may share a class
    messages = [
        f"{variable} is a setting of both {first} and {owner}. Rename one of the fields, or give {kind.__name__} an env_prefix."
        for kind, owner in distinct.items()
        for variable in _all_variables(kind)
        if (first := owners.setdefault(variable, owner)) != owner
    ]
    if messages:
        raise SettingsError(*messages)


def _all_variables(kind: type[BaseSettings]) -> Iterable[str]:
    return (variable for name in kind.model_fields for variable in variables_of(kind, name))
