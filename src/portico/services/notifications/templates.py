"""Mail templates: files of the package, compiled when the service starts."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from portico.kit import Amount, CurrencyCode, Event, ServiceContext
from portico.kit.foundation import EXPONENTS
from portico.services.notifications.errors import TemplateDataInvalid, TemplateNotFound, TemplateVersionNotFound
from portico.services.notifications.mail import Mailer
from portico.services.notifications.mail.base import MAX_SUBJECT_LENGTH, in_one_line
from portico.services.notifications.ticketing_data import MAX_ITEMS, TICKETING_DATA, Line

FILES = Path(__file__).parent / "template_files"
PARTS = ("subject.txt", "body.txt", "body.html")
_DECIMALS = 2  # for currencies that ISO 4217 does not list


class OrderedItem(BaseModel):
    """A line of an order, as a mail shows it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Line
    quantity: int = Field(ge=1, le=10**9)
    price: Amount
    subtotal: Amount


class OrderMail(BaseModel):
    """The data of a mail about an order."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    order_id: Line
    currency: CurrencyCode
    total: Amount
    items: tuple[OrderedItem, ...] = Field(max_length=MAX_ITEMS)


class SealedAccountMail(BaseModel):
    """The stored data of a mail with a token: nothing that a reader of the database could use."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sealed_token: Line
    expires_at: AwareDatetime


class AccountMail(BaseModel):
    """The data that a mail with a token is rendered with. `link` is the page to use the token at, if there is one."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    token: Line
    link: Line | None
    expires_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class Template:
    """One version of a template. A released version never changes, because queued mails refer to it.

    Args:
        name: the folder of its files.
        version: the folder below that.
        data: the model of the data that it is rendered with.
        stored: the model of the data that is stored with the notification.
        sample: the data of its preview.
    """

    name: str
    version: int
    data: type[BaseModel]
    stored: type[BaseModel]
    sample: Mapping[str, Any]

    @property
    def is_confidential(self) -> bool:
        """Whether only the recipient may read the mail."""
        return self.data is AccountMail

    def data_from(self, event: Event, **more: Any) -> dict[str, Any]:
        """Return the data to store for `event`, as JSON. `more` is data that the event does not have."""
        return self.stored.model_validate(event.model_dump(mode="json") | more).model_dump(mode="json")

    def checked(self, data: Any) -> BaseModel:
        """Validate `data`. Raises TemplateDataInvalid."""
        try:
            return self.data.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise TemplateDataInvalid(name=self.name, reason=f"{place}: {first['msg']}".removeprefix(": ")) from error


SAMPLE: dict[str, Any] = {
    "order_id": "ord_00000000000000000000000000",
    "currency": "USD",
    "total": 1059.97,
    "items": [
        {"name": "Laptop", "quantity": 1, "price": 999.99, "subtotal": 999.99},
        {"name": "Lamp", "quantity": 2, "price": 29.99, "subtotal": 59.98},
    ],
}


ACCOUNT_SAMPLE: dict[str, Any] = {
    "token": "the-token-of-the-mail",
    "link": "https://shop.example/account?token=the-token-of-the-mail",
    "expires_at": "2030-01-01T12:00:00Z",
}

TEMPLATES = (
    *(
        Template(name, 1, OrderMail, OrderMail, SAMPLE)
        for name in ("order-confirmed", "order-shipped", "order-cancelled")
    ),
    *(
        Template(name, 1, AccountMail, SealedAccountMail, ACCOUNT_SAMPLE)
        for name in ("password-reset", "email-verification")
    ),
    *(Template(name, 1, data, data, sample) for name, (data, sample) in TICKETING_DATA.items()),
)


def money(amount: Decimal, currency: str) -> str:
    """Format an amount of money: 1,059.97 USD."""
    return f"{amount:,.{EXPONENTS.get(currency, _DECIMALS)}f} {currency}"


def local_time(moment: datetime, time_zone: str) -> str:
    """Format a moment in a time zone: 2027-03-01 20:00 (Europe/Berlin)."""
    try:
        zone: tzinfo = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # unknown to this machine
        zone, time_zone = UTC, "UTC"
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M} ({time_zone})"


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """The subject and bodies of a mail."""

    subject: str
    text: str
    html: str


class Templates:
    """The compiled templates.

    Args:
        sources: the text of each file, by its path below FILES.
        signature: the sender's name in each mail.
    """

    def __init__(self, sources: dict[str, str], *, signature: str) -> None:
        from jinja2 import (  # slow to import; commands need the declaration
            DictLoader,
            StrictUndefined,
            select_autoescape,
        )
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # The data comes from users: HTML is autoescaped, and the sandbox keeps templates from reaching other objects.
        self._environment = ImmutableSandboxedEnvironment(
            loader=DictLoader(sources),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        self._environment.filters |= {"money": money, "line": in_one_line, "local": local_time}
        self._signature = signature
        self._known = {(each.name, each.version): each for each in TEMPLATES}
        for each in TEMPLATES:
            for part in PARTS:
                self._environment.get_template(_path(each, part))

    @property
    def newest_of_each(self) -> list[Template]:
        """The newest version of each template, sorted by name."""
        return [self.newest(name) for name in sorted({each.name for each in TEMPLATES})]

    def newest(self, name: str) -> Template:
        """Return the newest version of a template. Raises TemplateNotFound."""
        versions = [each for each in TEMPLATES if each.name == name]
        if not versions:
            known = ", ".join(sorted({each.name for each in TEMPLATES}))
            raise TemplateNotFound(name=name, known=known)
        return max(versions, key=lambda each: each.version)

    def find(self, name: str, version: int) -> Template:
        """Return a version of a template. Raises TemplateNotFound, TemplateVersionNotFound."""
        newest = self.newest(name)
        if (name, version) not in self._known:
            raise TemplateVersionNotFound(name=name, version=version, newest=newest.version)
        return self._known[name, version]

    async def render(self, template: Template, data: dict[str, Any], *, name: str) -> RenderedMail:
        """Render the mail to a recipient called `name`, in a thread, because orders can be long.

        Raises TemplateDataInvalid.
        """
        return await asyncio.to_thread(self._render, template, data, name)

    def _render(self, template: Template, data: dict[str, Any], name: str) -> RenderedMail:
        values = {**dict(template.checked(data)), "name": in_one_line(name), "shop": self._signature}
        subject, text, html = (self._environment.get_template(_path(template, part)).render(values) for part in PARTS)
        return RenderedMail(in_one_line(subject)[:MAX_SUBJECT_LENGTH], text, html)


def _path(template: Template, part: str) -> str:
    return f"{template.name}/{template.version}/{part}"


def read_files() -> dict[str, str]:
    """Return the text of every template file, by its path below FILES."""
    return {
        path.relative_to(FILES).as_posix(): path.read_text("utf-8")
        for path in sorted(FILES.rglob("*"))
        if path.suffix in {".txt", ".html"}
    }


@asynccontextmanager
async def open_templates(context: ServiceContext) -> AsyncIterator[Templates]:
    """Open the templates, signed with the sender of the mails."""
    sender = context.resource(Mailer).sender  # type: ignore[type-abstract]  # the declared type is the interface
    signature = sender.name or sender.domain
    yield await asyncio.to_thread(lambda: Templates(read_files(), signature=signature))
