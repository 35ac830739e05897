from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from portico.contracts.catalog import ProductId
from portico.kit import Amount, CurrencyCode, Moment, OneLine, Problem, Schema, Unprocessable
from portico.kit.foundation import json_number
from portico.kit.http import Case, field_errors, problem_document
from portico.services.catalog.models import CATEGORY_LENGTH, NAME_LENGTH, SKU_LENGTH, Product

MAX_QUANTITY = 1_000_000_000
MAX_NUMBER = 2**53 - 1  # larger JSON numbers lose digits in many parsers (RFC 8259 section 6)
DEEPEST = 5
MAX_VALUES = 200
MAX_VALUES_LENGTH = 16_384  # characters of all texts and keys together


def _bounded(attributes: dict[str, Any]) -> dict[str, Any]:
    characters = 0
    for size, (depth, value) in enumerate(_walk(attributes), 1):
        characters += len(value) if isinstance(value, str) else 0
        if depth > DEEPEST:
            raise ValueError(f"attributes may be nested at most {DEEPEST} levels deep")
        if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
            raise ValueError(f"a number in attributes may be at most {MAX_NUMBER}")
        if size > MAX_VALUES or characters > MAX_VALUES_LENGTH:
            raise ValueError(f"attributes may hold at most {MAX_VALUES} values and {MAX_VALUES_LENGTH} characters")
    return attributes


def _walk(value: Any, depth: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield every value, key and container in `value` with its depth, down to one level beyond the limit."""
    yield depth, value
    if depth > DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield depth, key
            yield from _walk(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, depth + 1)


Name = Annotated[str, OneLine(NAME_LENGTH), Field(examples=["Desk lamp"])]
Description = Annotated[str, StringConstraints(max_length=5_000)]
Sku = Annotated[str, OneLine(SKU_LENGTH), Field(examples=["LAMP-1"])]
Category = Annotated[str, OneLine(CATEGORY_LENGTH), Field(examples=["home"])]
Quantity = Annotated[int, Field(ge=0, le=MAX_QUANTITY, examples=[3])]
Price = Annotated[Amount, Field(examples=[49.9])]
Attributes = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""A free-form object. Its keys are kept as sent, also in camelCase systems."""


class _Editable(Schema):
    """The editable fields of a product."""

    name: Name
    description: Description = ""
    price: Price
    currency: CurrencyCode = "USD"
    category: Category
    sku: Sku
    attributes: Attributes = Field(default_factory=dict)


class ProductCreate(_Editable):
    """A new product. `stock_quantity` is its initial stock."""

    stock_quantity: Quantity = 0


class _WithoutStock(Schema):
    """Rejects `stock_quantity` with a message: stock is changed through /inventory."""

    @model_validator(mode="before")
    @classmethod
    def _reject_stock(cls, sent: Any) -> Any:
        if isinstance(sent, dict):
            faults = [
                InitErrorDetails(type=_NOT_EDITED_HERE, loc=(name,), input=sent[name])
                for name in ("stock_quantity", "stockQuantity")
                if name in sent
            ]
            if faults:
                raise ValidationError.from_exception_data(cls.__name__, faults)
        return sent


class ProductReplace(_WithoutStock, _Editable):
    """All editable fields of a product; omitted fields are reset to their defaults."""


_NOT_EDITED_HERE = PydanticCustomError("not_edited_here", "Stock cannot be changed here. Use /inventory instead")


def _absent() -> Any:
    """Default of fields that may be omitted but not null. It is never read."""
    return None


class ProductUpdate(_WithoutStock):
    """Fields of a product to change; omitted fields stay. `attributes` are replaced as a whole."""

    name: Name = Field(default_factory=_absent)
    description: Description = Field(default_factory=_absent)
    price: Price = Field(default_factory=_absent)
    currency: CurrencyCode = Field(default_factory=_absent)
    category: Category = Field(default_factory=_absent)
    sku: Sku = Field(default_factory=_absent)
    attributes: Attributes = Field(default_factory=_absent)


class ProductRead(Schema):
    """A product."""

    product_id: ProductId
    name: str = Field(examples=["Desk lamp"])
    description: str = Field(examples=["A lamp for the desk"])
    price: Price
    currency: str = Field(examples=["USD"])
    category: str = Field(examples=["home"])
    sku: str = Field(examples=["LAMP-1"])
    stock_quantity: int = Field(examples=[3])
    attributes: dict[str, Any]
    created_at: Moment
    updated_at: Moment


NAMES: dict[Case, tuple[str, ...]] = {
    "snake": tuple(ProductRead.model_fields),
    "camel": tuple(to_camel(name) for name in ProductRead.model_fields),
}
COLUMNS = tuple("price_minor" if name == "price" else name for name in ProductRead.model_fields)
"""The first columns of a row that `products_json` takes."""

_PRICE = COLUMNS.index("price_minor")
_CURRENCY = COLUMNS.index("currency")


def products_json(rows: Iterable[Sequence[Any]], case: Case) -> bytes:
    """Encode rows that begin with COLUMNS as a JSON list of `ProductRead`."""
    return orjson.dumps([_document(row, case) for row in rows], option=orjson.OPT_UTC_Z)


def _document(row: Sequence[Any], case: Case) -> dict[str, Any]:
    document = dict(zip(NAMES[case], row, strict=False))
    document[NAMES[case][_PRICE]] = json_number(row[_PRICE], row[_CURRENCY])
    return document


MAX_BATCH_SIZE = 1_000

Item = Annotated[ProductCreate | Any, Field(union_mode="left_to_right")]
"""A draft, or anything else, which gets a problem in its place."""


def drafts_in(items: Sequence[Any]) -> list[ProductCreate]:
    """Return the valid drafts of `items`."""
    return [item for item in items if isinstance(item, ProductCreate)]


class BatchResults:
    """The results of a batch: for each item, in order, the product or the problem document.

    Args:
        path: of the request; the problem of the fourth item has the instance `path#/3`.
        request_id: of the request.
        case: of the JSON fields.
    """

    def __init__(self, path: str, request_id: str, case: Case) -> None:
        self._path = path
        self._request_id = request_id
        self._case: Case = case

    def of(self, items: Sequence[Any], outcomes: Sequence[Product | Problem]) -> list[Product | dict[str, Any]]:
        """Return the results for `items`; `outcomes` belong to the valid drafts among them."""
        following = iter(outcomes)
        return [self._result(number, item, following) for number, item in enumerate(items)]

    def _result(self, number: int, item: Any, outcomes: Iterator[Product | Problem]) -> Product | dict[str, Any]:
        if not isinstance(item, ProductCreate):
            return self._problem(number, Unprocessable(), _field_errors(item, self._case))
        outcome = next(outcomes)
        if isinstance(outcome, Problem):
            return self._problem(number, outcome)
        return outcome

    def _problem(self, number: int, problem: Problem, errors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        return problem_document(
            problem,
            instance=f"{self._path}#/{number}",
            request_id=self._request_id,
            case=self._case,
            errors=errors,
        )


def _field_errors(item: Any, case: Case) -> list[dict[str, Any]]:
    try:
        ProductCreate.model_validate(item)
    except ValidationError as error:
        return field_errors(error.errors(include_url=False, include_context=False), item, case)
    return []
