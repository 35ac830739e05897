"""Reading of settings: the environment takes precedence over `.env`; each value keeps its origin."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from dotenv.parser import Original, parse_stream
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from portico.kit.settings.errors import SettingsError
from portico.kit.settings.fields import (
    BySuffix,
    Converted,
    OnlyInEnvironment,
    ServiceSettings,
    marker,
    variables_of,
)
from portico.kit.settings.masking import masked

S = TypeVar("S", bound=ServiceSettings)


_DOTENV = ".env"


@dataclass(frozen=True)
class Setting:
    """One setting as `portico config` shows it. Secrets in `value` are masked."""

    variable: str
    value: Any
    origin: str
    description: str


@dataclass(frozen=True)
class LoadedSettings(Generic[S]):
    """Settings and the origin of each field: `environment`, `.env`, `default`, or `… as ALIAS`."""

    value: S
    origins: Mapping[str, str]

    def entries(self) -> list[Setting]:
        """Return every setting in the order of declaration, secrets masked."""
        kind = type(self.value)
        return [
            Setting(
                variable=variables_of(kind, name)[0],
                value=masked(getattr(self.value, name)),
                origin=self.origins[name],
                description=field.description or "",
            )
            for name, field in kind.model_fields.items()
        ]


@dataclass(frozen=True)
class _Found:
    value: Any
    variable: str
    origin: str


class VariablesSource(PydanticBaseSettingsSource):
    """Source of settings for pydantic-settings: variables from one origin, with aliases that must not disagree.

    Args:
        kind: the settings class.
        variables: the variables by name. An empty value counts as unset, because compose files write it that way.
        origin: `environment` or `.env`.
    """

    def __init__(self, kind: type[BaseSettings], variables: Mapping[str, str], origin: str) -> None:
        super().__init__(kind)
        self._variables = {name: text for name, text in variables.items() if text.strip()}
        self._origin = origin
        self.found: dict[str, _Found] = {}
        self.mistakes: list[str] = []

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the field's value (None if unset), its key, and that it is not JSON.

        Raises:
            SettingsError: two aliases disagree, or a value cannot be converted.
        """
        if (collected := marker(field, BySuffix)) is not None:
            values = {
                variable.removesuffix(collected.suffix).lower(): text
                for variable, text in self._variables.items()
                if variable.endswith(collected.suffix) and variable != collected.suffix
            }
            if values:
                self.found[field_name] = _Found(values, "{NAME}" + collected.suffix, self._origin)
            return values or None, field_name, False
        spellings = list(self._spellings(field, field_name))
        for other in spellings[1:]:
            if not _agree(spellings[0].value, other.value):
                raise SettingsError(
                    f"{spellings[0].variable} and {other.variable} have different values in the {self._origin}. "
                    f"Keep {spellings[0].variable} and remove the other."
                )
        if not spellings:
            return None, field_name, False
        if self._origin == _DOTENV and marker(field, OnlyInEnvironment) is not None:
            raise SettingsError(
                f"{spellings[0].variable} is read before {_DOTENV} and cannot be set there. Set it in the environment."
            )
        self.found[field_name] = spellings[0]
        return spellings[0].value, field_name, False

    def _spellings(self, field: FieldInfo, field_name: str) -> Iterator[_Found]:
        preferred, *_ = names = variables_of(self.settings_cls, field_name)
        converted = marker(field, Converted)
        for variable in names:
            if (text := self._variables.get(variable)) is None:
                continue
            value: Any = text
            if converted is not None and converted.variable == variable:
                try:
                    value = converted.convert(text)
                except ValueError as error:
                    raise SettingsError(f"{variable} ({self._origin}) cannot be used: {error}.") from error
            yield _Found(value, variable, self._origin if variable == preferred else f"{self._origin} as {variable}")

    def __call__(self) -> dict[str, Any]:
        values = {}
        for name, field in self.settings_cls.model_fields.items():
            try:
                value, key, _ = self.get_field_value(field, name)
            except SettingsError as error:
                self.mistakes.extend(error.messages)
            else:
                if value is not None:
                    values[key] = value
        return values


def read_settings(kind: type[S], *, environ: Mapping[str, str], dotenv_file: Path | None = None) -> LoadedSettings[S]:
    """Read settings of one kind. The environment takes precedence over the file.

    Args:
        kind: the settings class.
        environ: the environment, as `os.environ`.
        dotenv_file: a file with further variables; it may be absent.

    Raises:
        SettingsError: invalid values, aliases that disagree, an unreadable file.
    """
    sources = [
        VariablesSource(kind, read_dotenv(dotenv_file), _DOTENV),
        VariablesSource(kind, environ, "environment"),
    ]
    values: dict[str, Any] = {}
    found: dict[str, _Found] = {}
    for source in sources:  # later sources take precedence; mappings are merged
        for name, value in source().items():
            before = found.get(name)
            found[name] = source.found[name]
            if before is not None and isinstance(value, dict):
                origin = f"{found[name].origin} and {before.origin}"
                found[name] = _Found(before.value | value, found[name].variable, origin)
            values[name] = found[name].value
    mistakes = [message for source in sources for message in source.mistakes]
    try:
        settings = kind.model_validate(values)
    except ValidationError as error:
        mistakes.extend(_message(kind, found, each) for each in error.errors(include_url=False))
    else:
        if not mistakes:
            defaults = dict.fromkeys(kind.model_fields, "default")
            return LoadedSettings(settings, defaults | {name: each.origin for name, each in found.items()})
    raise SettingsError(*mistakes)


def read_dotenv(path: Path | None) -> dict[str, str]:
    """Return the variables in the file, without interpolation: a password may contain `${`.

    Raises:
        SettingsError: the file cannot be read, or a line sets nothing. The messages contain no part of a line, because it
            may be a secret.
    """
    if path is None or not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read as text ({type(error).__name__}). Correct the file or remove it."
        ) from error
    mistakes = [
        f"{path}, line {_first_line(each.original)} is not NAME=value. Correct it; a value with spaces or # needs quotes."
        for each in bindings
        if each.error or (each.key is not None and each.value is None)
    ]
    if mistakes:
        raise SettingsError(*mistakes)
    return {each.key: each.value for each in bindings if each.key is not None and each.value is not None}


def _first_line(original: Original) -> int:
    """Return the number of the first line that is not empty."""
    text = original.string
    return original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _agree(one: Any, other: Any) -> bool:
    """Return whether two values are equal, as numbers if both are numbers (`60` and `60.0`)."""
    try:
        return float(one) == float(other)
    except ValueError:
        return bool(one == other)


def _message(kind: type[BaseSettings], found: Mapping[str, _Found], error: ErrorDetails) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    field = kind.model_fields.get(name)
    if field is None:
        return f"{error['msg'].removeprefix('Value error, ')}."
    variable = variables_of(kind, name)[0]
    if name not in found:
        return f"{variable} is not set: {field.description or 'this process requires it'}."
    each = found[name]
    variable = (
        f"{str(error['loc'][1]).upper()}{variable.removeprefix('{NAME}')}" if "{NAME}" in variable else each.variable
    )
    return f"{variable}{_shown(field, each)} ({each.origin.split(' as ')[0]}) cannot be used: {_advice(error)}."


def _shown(field: FieldInfo, found: _Found) -> str:
    """Return `=value`, or nothing if the value may contain a secret: an invalid address cannot be masked reliably."""
    if not field.repr or "SecretStr" in str(field.annotation) or isinstance(found.value, (SecretStr, dict)):
        return ""
    return f"={str(found.value)[:100]}"


def _advice(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "literal_error":
        return f"write {context['expected']}"
    if "error" in context:
        return str(context["error"])
    message = error["msg"]
    return message.replace("Input should be", "it should be")
