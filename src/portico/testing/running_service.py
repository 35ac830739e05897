"""One service, running for a test: `async with run_service(loans, databases) as loans: await loans.as_user().get("/loans")`.

Requests pass the service's whole middleware, as over a socket. A fake issuer signs the tokens. The clock stands still
until the test advances it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import orjson
from sqlalchemy import select

from portico.kit.auth.tokens import TokenFormat
from portico.kit.auth.verification import KeyVerifier
from portico.kit.calls.channel import Channel, Outgoing
from portico.kit.calls.local import LocalChannel
from portico.kit.data.kit_tables import event_log, outbox
from portico.kit.messaging.brokers.base import Message
from portico.kit.messaging.envelope import Envelope, serialize
from portico.kit.messaging.event import Event
from portico.kit.messaging.inbox import Inbox
from portico.kit.runtime.context import ServiceRuntime
from portico.kit.runtime.host import Host
from portico.kit.runtime.service import Service
from portico.kit.runtime.system import System
from portico.kit.sagas.runner import SagaRunner
from portico.kit.settings import Environment
from portico.testing.clock import ManualClock
from portico.testing.databases import Databases
from portico.testing.issuer import Issuer

RESPONSE_TIMEOUT = 60.0  # seconds that a test waits for a response


@dataclass(frozen=True)
class Answer:
    """A response. Header names are in lower case; of several with one name the last is kept."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return orjson.loads(self.content)


@dataclass(frozen=True)
class Caller:
    """A caller of one service, with or without a token."""

    channel: Channel
    service: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request with `json` or the bytes `content` as its body; `path` may have a query."""
        path, _, query = path.partition("?")
        body = content if content is not None else b"" if json is None else orjson.dumps(json)
        sent = {**self.headers, **(headers or {})}
        if json is not None:
            sent.setdefault("content-type", "application/json")
        outgoing = Outgoing(
            service=self.service,
            method=method,
            path=path,
            query=(urlencode(params) if params else query).encode(),
            headers=[(name.lower().encode(), value.encode()) for name, value in sent.items()],
            body=body,
            timeout=RESPONSE_TIMEOUT,
        )
        answer = await self.channel.send(outgoing)
        received = {name.decode().lower(): value.decode("latin-1") for name, value in answer.headers}
        return Answer(answer.status, received, answer.body)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Answer:
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> Answer:
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.request("DELETE", path, **options)


@dataclass(frozen=True)
class RunningService:
    """A service under test, with its fakes."""

    context: ServiceRuntime
    issuer: Issuer
    clock: ManualClock
    channel: LocalChannel

    @property
    def anonymous(self) -> Caller:
        """A caller without a token."""
        return Caller(self.channel, self.context.name)

    def as_user(self, *permissions: str, subject: str | None = None) -> Caller:
        """Return a user with these permissions; a new one unless `subject` is given."""
        return self.bearing(self.issuer.token(subject, permissions=permissions))

    def as_service(self, name: str, *permissions: str) -> Caller:
        """Return another service with its token."""
        return self.bearing(self.issuer.token(f"service:{name}", permissions=permissions))

    def bearing(self, token: str) -> Caller:
        """Return a caller with this token."""
        return Caller(self.channel, self.context.name, {"authorization": f"Bearer {token}"})

    async def published(self) -> list[Event]:
        """Return the events that the service published, oldest first."""
        kinds = {(kind.event_type, kind.version): kind for kind in self.context.service.publishes}
        async with (
            self.context.reader() as reader,
            reader.snapshot() as moment,
        ):  # the relay moves them at the same time
            rows = [
                row
                for table in (event_log, outbox)
                for row in await moment.rows(select(table.c.body).order_by(table.c.id))
            ]
        envelopes = [Envelope.parse(row.body) for row in rows]
        return [
            kinds[each.type, each.version].model_validate(each.data).with_message_id(each.event_id)
            for each in envelopes
        ]

    async def receives(self, *events: Event, source: str = "/catalog/another") -> None:
        """Deliver `events` to the service's consumers, as its broker would."""
        for event in events:
            body = serialize(event, source=source, time=self.clock.now(), trace=None)
            await self.inbox.deliver(Message(event.message_id, event.event_type, event.aggregate_id, body.encode()))

    @cached_property
    def inbox(self) -> Inbox:
        """The inbox that handles delivered events."""
        return Inbox(self.context)

    async def sagas_rest(self) -> None:
        """Wait until each saga of the service has ended, or waits for a later time."""
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            await self.context.resource(SagaRunner).wait_until_idle()

    async def given(self, *rows: Any) -> Any:
        """Insert rows into the database; return the first."""
        async with self.context.transaction() as work:
            work.add_all(rows)
        return rows[0]


def system_of(*services: Service, **options: Any) -> System:
    """Return a system of these services. Services that they call are declared, but do not run."""
    named = {service.name for service in services}
    called = sorted({name for service in services for name in service.calls} - named)
    called_only = [Service(name=name, summary="Does not run", module=__name__) for name in called]
    return System(
        "catalog", "A system for a test", gateway=1, services=dict.fromkeys((*services, *called_only), 1), **options
    )


def _settings(databases: Databases) -> dict[str, str]:
    return {
        "DATABASE_URL": databases.per_service(),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "SERVICE_SECRET": secrets.token_urlsafe(48),
        "PAYMENTS_WEBHOOK_SECRET": secrets.token_urlsafe(48),
        # Longer than the defaults, so that tests pass on a busy machine.
        "DATABASE_CONNECT_TIMEOUT": "60",
        "DATABASE_POOL_TIMEOUT": "60",
        "HEALTH_TIMEOUT": "60",
        "REQUEST_TIMEOUT": "60",
    }


@asynccontextmanager
async def run_service(
    service: Service,
    databases: Databases,
    *,
    variables: Mapping[str, str] | None = None,
    system: System | None = None,
    clock: ManualClock | None = None,
    channel: Channel | None = None,
    background: bool = True,
    template: bool = True,
) -> AsyncIterator[RunningService]:
    """Run `service` with a migrated database of its own. Its scheduled jobs do not run: a test calls their functions.

    Args:
        service: the service.
        databases: creates its database; from the fixture of that name.
        variables: settings, by the names of their environment variables.
        system: the system that it belongs to; a system of this service alone by default.
        clock: the clock; a new one that stands still by default.
        channel: the way to other services; by default their addresses, where nothing listens.
        background: whether relay, sagas and the service's own background work run; otherwise the test runs them.
        template: whether its database is a copy of one that was migrated before; otherwise its start runs the migrations.
    """
    held = clock or ManualClock()
    whole = system or system_of(service)
    form = TokenFormat(issuer=whole.info.local_url, audience=whole.name)
    issuer = Issuer(held, form)
    settings = {**_settings(databases), **(variables or {})}
    host = Host(
        whole,
        Environment(settings),
        verifier_of=lambda _context: KeyVerifier(issuer, form, held),
        only=[whole.name_of(service)],
        background=background,
        jobs=False,
        clock=held,
        channel=channel,
        broker=None,
    )
    if template and settings["DATABASE_URL"] == databases.per_service():
        await databases.create_migrated(whole.placement(service.name))
    async with host:
        callers = LocalChannel(host.apps)
        yield RunningService(host.contexts[whole.name_of(service)], issuer, held, callers)
        await callers.aclose()
