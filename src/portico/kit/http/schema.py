"""JSON models. Python and events use snake_case; the JSON of a system may use camelCase.

A model accepts both cases of each field. The route chooses the case of the output (`response_model_by_alias`), because
one service can serve two systems in one process.
"""

import re
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from portico.kit.foundation.text import NOT_IN_A_LINE

Case = Literal["snake", "camel"]

openapi_case: ContextVar[Case] = ContextVar("openapi_case", default="snake")
"""Case of the fields in the OpenAPI document being built."""


class Schema(BaseModel):
    """Base class of request and response bodies: strict types, no unknown fields, snake_case and camelCase accepted."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        loc_by_alias=False,
        extra="forbid",
        strict=True,
        from_attributes=True,
        hide_input_in_errors=True,  # the error's text may be logged, and the input may contain a password
    )

    @classmethod
    def of(cls, source: Any) -> Self:
        """Return the model for a row or another object, from its attributes."""
        return cls.model_validate(source)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        document = handler(schema)
        if openapi_case.get() == "snake":
            _respell(handler.resolve_ref_schema(document), cls)
        return document


def _respell(document: JsonSchemaValue, model: type[BaseModel]) -> None:
    fields: dict[str, Any] = {**model.model_fields, **model.model_computed_fields}
    names = {field.alias: name for name, field in fields.items()}
    if "properties" in document:
        document["properties"] = {names.get(key, key): value for key, value in document["properties"].items()}
    if "required" in document:
        document["required"] = [names.get(key, key) for key in document["required"]]


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("the time has no time zone; write it as 2026-01-31T12:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this time is before the year 1 or after the year 9999 in UTC") from error


def rfc3339(value: datetime) -> str:
    """Return `value` as RFC 3339 in UTC: 2026-01-31T12:00:00.000001Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _text_only(value: Any) -> Any:
    if (isinstance(value, str) and "T" in value.upper()) or isinstance(value, datetime):
        return value  # Pydantic would accept 5 and "5" as seconds since 1970
    raise ValueError("Input should be a time such as 2026-01-31T12:00:00Z")


Moment = Annotated[
    datetime,
    Field(strict=False),
    BeforeValidator(_text_only),
    AfterValidator(_in_utc),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time as RFC 3339. Input without a time zone is rejected; output ends in Z."""

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = TypeAdapter[datetime](Moment)
_DATE_OR_MOMENT: Final = "Input should be a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z"


def _read_date_or_moment(value: Any) -> date:
    """Return the date or time. A union of both types would report an error for each of them."""
    if isinstance(value, date):
        return value
    message = _DATE_OR_MOMENT
    if isinstance(value, str):
        try:
            return date.fromisoformat(value) if _DATE.fullmatch(value) else _MOMENT.validate_python(value)
        except ValidationError as error:
            if "T" in value.upper() and value[:1].isdigit():
                message = error.errors()[0]["msg"]
        except ValueError:  # such as 2026-02-30
            pass
    raise PydanticCustomError("date_or_time", "{problem}", {"problem": message})


DateOrMoment = Annotated[
    datetime | date,
    PlainValidator(_read_date_or_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}),
]
"""A bound of a filter: a time as RFC 3339, or a date (YYYY-MM-DD)."""

_BREAKS_A_LINE: Final = re.compile(f"[{NOT_IN_A_LINE}]")
_LINE_PATTERN: Final = f"^[^{NOT_IN_A_LINE}]*$"


@dataclass(frozen=True, slots=True)
class OneLine:
    """Annotation for one line of text without surrounding white space: `Annotated[str, OneLine(200)]`.

    Line breaks, other control characters and bidirectional overrides and isolates are rejected.
    """

    max_length: int = 255

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(strip_whitespace=True, min_length=1, max_length=self.max_length)
        return core_schema.no_info_after_validator_function(_require_one_line, text)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": _LINE_PATTERN}


def _require_one_line(text: str) -> str:
    if found := _BREAKS_A_LINE.search(text):
        raise PydanticCustomError(
            "not_one_line",
            "Input should be one line without control characters; it contains {character}",
            {"character": f"U+{ord(found[0]):04X}"},
        )
    return text


Line = Annotated[str, OneLine()]
"""One line of text: a name, a title."""


def apply_case(document: dict[str, Any], case: Case) -> dict[str, Any]:
    """Return a document with its top-level keys in the system's case."""
    return {to_camel(key): value for key, value in document.items()} if case == "camel" else document


def location_in_caller_case(location: tuple[int | str, ...], sent: Any, case: Case) -> list[int | str]:
    """Return the location of an error in the case that the caller used, or in the system's if the field is missing."""
    spelled: list[int | str] = []
    node = sent
    for part in location:
        if isinstance(part, str) and isinstance(node, dict) and part not in node:
            camel = to_camel(part)
            if camel in node or case == "camel":
                spelled.append(camel)
                node = node.get(camel)
                continue
        spelled.append(part)
        node = _step(node, part)
    return spelled


def _step(node: Any, part: int | str) -> Any:
    if isinstance(node, dict):
        return node.get(part, node)
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return node
