from typing import Annotated, Self

from pydantic import Field, model_validator

from portico.kit import Amount, Moment, Schema
from portico.services.seating.codes.domain import MAX_CODE_LENGTH, CodeKind

_MAX_SEATS = 1_000_000

CodeText = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=MAX_CODE_LENGTH)]


class CodeCreate(Schema):
    """A code to add: a discount of a percentage or an amount per seat, or holds before the sale (PRESALE)."""

    code: CodeText
    kind: CodeKind
    percent_off: Annotated[int, Field(ge=1, le=100)] | None = None
    amount_off: Amount | None = None
    max_seats: Annotated[int, Field(ge=1, le=_MAX_SEATS)] | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.percent_off is not None and self.amount_off is not None:
            raise ValueError("a code takes off either a percentage or an amount")
        if self.kind == "DISCOUNT" and not (self.percent_off or self.amount_off):
            raise ValueError("a discount needs percent_off or amount_off")
        if self.kind == "PRESALE" and self.valid_from is None:
            raise ValueError("a presale needs valid_from")
        if self.valid_from is not None and self.valid_until is not None and self.valid_from >= self.valid_until:
            raise ValueError("valid_from must be before valid_until")
        return self


class CodeRead(Schema):
    """A code, and how many places are held or sold with it."""

    code: str
    kind: CodeKind
    percent_off: int | None
    amount_off: Amount | None
    max_seats: int | None
    used_seats: int
    valid_from: Moment | None
    valid_until: Moment | None
    created_at: Moment
