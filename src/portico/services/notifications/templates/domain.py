"""The templates that there are, what each is filled in with, and how sums of money read."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from portico.kit.foundation.money import EXPONENTS, Amount, CurrencyCode
from portico.kit.messaging.event import Event
from portico.services.notifications.templates.errors import TemplateDataInvalid

MOST_ITEMS = 1000
_DECIMALS = 2  # of a currency that ISO 4217 has not

Line = Annotated[str, StringConstraints(max_length=1000)]


class OrderedItem(BaseModel):
    """A line of an order, as a mail shows it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Line
    quantity: int = Field(ge=1, le=10**9)
    price: Amount
    subtotal: Amount


class OrderMail(BaseModel):
    """What a mail about an order is filled in with."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    order_id: Line
    currency: CurrencyCode
    total: Amount
    items: tuple[OrderedItem, ...] = Field(max_length=MOST_ITEMS)


@dataclass(frozen=True, slots=True)
class Template:
    """One version of what a mail says. A version that was used stays as it is: what is queued is written by it.

    Args:
        name: of the folder that its files are in.
        version: of the folder in that.
        data: what it is filled in with.
    """

    name: str
    version: int
    data: type[OrderMail]

    def data_from(self, event: Event) -> dict[str, Any]:
        """What the mail is filled in with for `event`, as JSON."""
        return self.data.model_validate(event.model_dump(mode="json")).model_dump(mode="json")

    def checked(self, data: Any) -> OrderMail:
        """`data` as the template wants it. Raises TemplateDataInvalid."""
        try:
            return self.data.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise TemplateDataInvalid(name=self.name, reason=f"{place}: {first['msg']}".removeprefix(": ")) from error


TEMPLATES = (
    Template("order-confirmed", 1, OrderMail),
    Template("order-shipped", 1, OrderMail),
    Template("order-cancelled", 1, OrderMail),
)

SAMPLE: dict[str, Any] = {
    "order_id": "ord_00000000000000000000000000",
    "currency": "USD",
    "total": 1059.97,
    "items": [
        {"name": "Laptop", "quantity": 1, "price": 999.99, "subtotal": 999.99},
        {"name": "Lamp", "quantity": 2, "price": 29.99, "subtotal": 59.98},
    ],
}


def money(amount: Decimal, currency: str) -> str:
    """A sum as people write it: 1,059.97 USD."""
    return f"{amount:,.{EXPONENTS.get(currency, _DECIMALS)}f} {currency}"
