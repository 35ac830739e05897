"""Reading settings: the environment before `.env`, each value with its origin, each mistake as a sentence."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import dotenv
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from portico.kit.settings.masking import masked

S = TypeVar("S", bound=BaseModel)


class SettingsError(Exception):
    """Settings that a process can't start with.

    Args:
        sentences: what is wrong and what to do about it, one for each mistake; no secret is in them.
    """

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = sentences


@dataclass(frozen=True)
class AlsoSpelled:
    """Marks a field that people also know by another variable, maybe in another unit.

    Args:
        variable: the other variable's name.
        convert: from that variable's text to the field's value; raises ValueError with what to write instead.
    """

    variable: str
    convert: Callable[[str], Any] = str


@dataclass(frozen=True)
class Gathered:
    """Marks a mapping that is gathered from every variable that ends in `suffix`, keyed by what comes before it."""

    suffix: str


@dataclass(frozen=True)
class Setting:
    """One setting as `portico config` shows it."""

    variable: str
    value: Any
    """masked where it is a secret"""
    origin: str
    description: str


@dataclass(frozen=True)
class Read(Generic[S]):
    """Settings that were read, and where each came from: `environment`, `.env`, `default`, or `… as OTHER_SPELLING`."""

    value: S
    origins: Mapping[str, str]

    def listed(self) -> list[Setting]:
        """Every setting, in the order of their declaration, secrets masked."""
        return [
            Setting(
                variable=_variable(name, field),
                value=masked(getattr(self.value, name)),
                origin=self.origins[name],
                description=field.description or "",
            )
            for name, field in type(self.value).model_fields.items()
        ]


@dataclass(frozen=True)
class _Source:
    name: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class _Found:
    value: Any
    variable: str
    origin: str


def read_settings(kind: type[S], *, environ: Mapping[str, str], dotenv_file: Path | None = None) -> Read[S]:
    """Read a `kind` of settings. A variable that is set to nothing counts as not set, as compose files write it.

    Args:
        kind: the model; each field is read by its name in upper case.
        environ: the environment, as `os.environ`.
        dotenv_file: a file of further variables, which the environment overrules; it need not exist.

    Raises:
        SettingsError: values that can't be, spellings that disagree, an unreadable file.
    """
    sources = [_Source("environment", environ), _Source(".env", _read_dotenv(dotenv_file))]
    found: dict[str, _Found] = {}
    mistakes: list[str] = []
    for name, field in kind.model_fields.items():
        try:
            if (value := _find(name, field, sources)) is not None:
                found[name] = value
        except SettingsError as error:
            mistakes.extend(error.sentences)
    try:
        settings = kind.model_validate({name: each.value for name, each in found.items()})
    except ValidationError as error:
        mistakes.extend(_sentence(kind, found, each) for each in error.errors(include_url=False))
    else:
        if not mistakes:
            defaults = dict.fromkeys(kind.model_fields, "default")
            return Read(settings, defaults | {name: each.origin for name, each in found.items()})
    raise SettingsError(*mistakes)


def _read_dotenv(path: Path | None) -> dict[str, str]:
    if path is None or not path.is_file():
        return {}
    try:
        # Interpolation is off: a password with "${" in it means what it says.
        values = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} can't be read as text ({type(error).__name__}): mend it or move it away."
        ) from error
    return {name: value for name, value in values.items() if value is not None}


def _variable(name: str, field: FieldInfo) -> str:
    for mark in field.metadata:
        if isinstance(mark, Gathered):
            return "{NAME}" + mark.suffix
    return name.upper()


def _find(name: str, field: FieldInfo, sources: list[_Source]) -> _Found | None:
    for mark in field.metadata:
        if isinstance(mark, Gathered):
            return _gather(mark.suffix, sources)
    spellings = [AlsoSpelled(name.upper()), *(mark for mark in field.metadata if isinstance(mark, AlsoSpelled))]
    for source in sources:
        values = list(_spelled(spellings, source))
        for other in values[1:]:
            if not _agree(values[0].value, other.value):
                raise SettingsError(
                    f"{values[0].variable} and {other.variable} say different things in the {source.name}: "
                    f"keep {values[0].variable} and remove the other."
                )
        if values:
            return values[0]
    return None


def _spelled(spellings: list[AlsoSpelled], source: _Source) -> Iterator[_Found]:
    for spelling in spellings:
        text = source.variables.get(spelling.variable, "")
        if not text.strip():
            continue
        try:
            value = spelling.convert(text)
        except ValueError as error:
            raise SettingsError(f"{spelling.variable} ({source.name}) can't be used: {error}.") from error
        origin = source.name if spelling is spellings[0] else f"{source.name} as {spelling.variable}"
        yield _Found(value, spelling.variable, origin)


def _agree(one: Any, other: Any) -> bool:
    """`60` and `60.0` are one number: what is compared is what was meant, where both are numbers."""
    try:
        return float(one) == float(other)
    except ValueError:
        return bool(one == other)


def _gather(suffix: str, sources: list[_Source]) -> _Found | None:
    gathered: dict[str, str] = {}
    origins: list[str] = []
    for source in reversed(sources):
        here = {
            variable.removesuffix(suffix).lower(): text
            for variable, text in source.variables.items()
            if variable.endswith(suffix) and variable != suffix and text.strip()
        }
        if here:
            origins.insert(0, source.name)
        gathered |= here
    return _Found(gathered, "{NAME}" + suffix, " and ".join(origins)) if gathered else None


def _sentence(kind: type[BaseModel], found: Mapping[str, _Found], error: ErrorDetails) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    field = kind.model_fields.get(name)
    if field is None:
        return f"{error['msg'].removeprefix('Value error, ')}."
    variable = _variable(name, field)
    if name not in found:
        return f"{variable} is not set: {field.description or 'this process needs it'}."
    each = found[name]
    variable = (
        f"{str(error['loc'][1]).upper()}{variable.removeprefix('{NAME}')}" if "{NAME}" in variable else each.variable
    )
    return f"{variable}{_shown(field, each)} ({each.origin.split(' as ')[0]}) can't be used: {_advice(error)}."


def _shown(field: FieldInfo, found: _Found) -> str:
    """The refused value, unless a secret may be in it: an address that could not be read can't be masked either."""
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
