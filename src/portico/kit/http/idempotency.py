"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a repeated request has one effect and one response.

The first statement of the transaction claims the key. A repeated request therefore waits, or gets the stored response,
before any rule can reject it. The last statement stores the response. An endpoint that calls other services cannot keep
a transaction open during the calls. For it, the key is looked up first and claimed last, and the second of two
concurrent requests is rolled back.
"""

import hashlib
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Select, delete, select, update
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from portico.kit.data.grouped_work import GroupedUnitOfWork
from portico.kit.data.kit_tables import idempotency_keys
from portico.kit.data.reader import Reader
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_if_absent
from portico.kit.foundation.problems import BadRequest, Conflict, Problem, Unprocessable
from portico.kit.http.client_info import client_key
from portico.kit.http.request import combined_field
from portico.kit.service_context import ServiceContext

_MAX_KEY_LENGTH = 255
_STORED_HEADERS = {"content-type", "location", "etag", "link"}


class KeyInFlight(Conflict):
    code = "idempotency_key_in_flight"
    detail = "A request with this Idempotency-Key is still being processed. Retry in a second."

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": "1"}


class KeyTaken(KeyInFlight):
    """A concurrent request has claimed the key since the look-up. Another look-up finds its response."""

    code = "idempotency_key_in_flight"


class KeyReused(Unprocessable):
    code = "idempotency_key_reused"
    detail = "This Idempotency-Key was used with a different body. Use a new key for a new request."
    location = ("header", "idempotency-key")


class AnsweredConcurrently(Exception):
    """A concurrent request with the same key was committed first. This one must not be committed."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


def anonymous_caller(request: Request, context: ServiceContext, body: bytes) -> str:
    """Return the scope of the key of a caller without a token: the client's address and the content of the request.

    Nothing else distinguishes such callers. Requests that differ in content never share a key (decision 0031).
    """
    return f"-\n{client_key(request, context)}\n{_digest(request, body)}"


class Claim:
    """The claim of one request on its key, scoped by caller and route.

    Args:
        request: the request.
        key: value of its Idempotency-Key header.
        body: body of the request.
        caller: subject of the caller, or the scope of an anonymous one.
        in_flight: keys of requests in progress in this process.
        ttl: how long a key is valid.
    """

    def __init__(
        self, request: Request, key: str, body: bytes, *, caller: str, in_flight: set[str], ttl: timedelta
    ) -> None:
        if not 0 < len(key) <= _MAX_KEY_LENGTH or not key.isprintable():
            raise BadRequest(reason=f"an Idempotency-Key has 1 to {_MAX_KEY_LENGTH} printable characters")
        scope = f"{caller}\n{request.method}\n{request.url.path}\n{key}"
        self._key = hashlib.sha256(scope.encode()).hexdigest()
        self._fingerprint = _digest(request, body, salt=key)  # the stored digest must not reveal a password
        self._in_flight = in_flight
        self._ttl = ttl

    def __enter__(self) -> Self:
        if self._key in self._in_flight:
            raise KeyInFlight
        self._in_flight.add(self._key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_flight.discard(self._key)

    async def earlier_answer(self, work: UnitOfWork) -> Response | None:
        """Claim the key, or return the stored response if it was claimed before. Raises KeyReused, KeyInFlight."""
        if await self._try_claim(work):
            return None
        row = (await work.execute(self._known())).one_or_none()  # None if the job has just deleted the expired key
        if row is None or row.claimed_at < work.now - self._ttl:
            await work.execute(delete(idempotency_keys).where(idempotency_keys.c.key == self._key))
            await self._try_claim(work)
            return None
        return self._stored_response(row)

    async def stored_answer(self, reader: Reader) -> Response | None:
        """Return the stored response of a claimed key. Do not claim the key. Raises KeyReused, KeyInFlight."""
        found = await reader.rows(self._known())
        if not found or found[0].claimed_at < reader.now - self._ttl:
            return None
        return self._stored_response(found[0])

    async def claim_last(self, work: UnitOfWork) -> None:
        """Claim the key at the end of the request. Raises AnsweredConcurrently, KeyReused, KeyInFlight."""
        if (earlier := await self.earlier_answer(work)) is not None:
            raise AnsweredConcurrently(earlier)

    def _known(self) -> Select[Any]:
        return select(idempotency_keys).where(idempotency_keys.c.key == self._key)

    def _stored_response(self, row: Any) -> Response:
        if row.fingerprint != self._fingerprint:
            raise KeyReused
        if row.status is None:
            raise KeyInFlight
        return Response(row.body, row.status, headers={**row.headers, "idempotency-replayed": "true"})

    async def _try_claim(self, work: UnitOfWork) -> bool:
        values: dict[str, Any] = {"key": self._key, "fingerprint": self._fingerprint, "claimed_at": work.now}
        return await insert_if_absent(work, idempotency_keys, values)

    async def claim_with_answer(self, work: GroupedUnitOfWork, response: Response) -> None:
        """Claim the key and store the response at the commit, which raises KeyTaken after a concurrent claim."""
        row = {"key": self._key, "fingerprint": self._fingerprint, "claimed_at": work.now, **_stored(response)}
        work.defer_claim(idempotency_keys, row, _key_taken, first=True)

    async def keep(self, work: UnitOfWork, response: Response) -> None:
        """Store the response in the transaction of its effect. Raises TypeError for a streamed response."""
        await work.execute(
            update(idempotency_keys).where(idempotency_keys.c.key == self._key).values(**_stored(response))
        )


def _stored(response: Response) -> dict[str, Any]:
    """Return the columns that store a response. Raises TypeError for a streamed response."""
    if isinstance(response, StreamingResponse):
        raise TypeError("A streamed response cannot be stored. Declare the route with streams=True.")
    given = {name: combined_field(response.headers, name) for name in _STORED_HEADERS}
    headers = {name: value for name, value in given.items() if value is not None}
    return {"status": response.status_code, "headers": headers, "body": bytes(response.body).decode()}


async def _key_taken(_: UnitOfWork) -> Problem:
    return KeyTaken()


def _digest(request: Request, body: bytes, *, salt: str = "") -> str:
    return hashlib.sha256(b"\n".join((salt.encode(), request.url.query.encode(), body))).hexdigest()
