"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the same request twice has one effect and one answer.

The key is claimed by the first statement of the transaction that has the effect, so that a repeat waits or replays
before any rule can refuse it; the answer is written by the last one. An endpoint that calls other services can't have a
transaction open meanwhile: there the key is looked up first and claimed last, and who comes second is rolled back.
"""

import hashlib
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Select, delete, select, update
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from portico.kit.data.kit_tables import idempotency_keys
from portico.kit.data.reader import Reader
from portico.kit.data.unit_of_work import UnitOfWork
from portico.kit.data.upsert import insert_if_absent
from portico.kit.foundation.problems import BadRequest, Conflict, Unprocessable

_LONGEST_KEY = 255
_KEPT_HEADERS = {"content-type", "location", "etag", "link"}


class KeyInFlight(Conflict):
    code = "idempotency_key_in_flight"
    detail = "A request with this Idempotency-Key is still being processed. Retry in a second."

    @property
    def headers(self) -> dict[str, str]:
        return {"retry-after": "1"}


class KeyReused(Unprocessable):
    code = "idempotency_key_reused"
    detail = "This Idempotency-Key came with another body before. Use a new key for a new request."
    location = ("header", "idempotency-key")


class AnsweredMeanwhile(Exception):
    """Another request with the same key was answered while this one ran; what this one did is not to be committed."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class Claim:
    """One request's claim on its key, scoped by caller and route. `in_flight` holds the keys of this process."""

    def __init__(self, request: Request, key: str, *, caller: str, in_flight: set[str], ttl: timedelta) -> None:
        if not 0 < len(key) <= _LONGEST_KEY or not key.isprintable():
            raise BadRequest(reason=f"an Idempotency-Key has 1 to {_LONGEST_KEY} printable characters")
        scope = f"{caller}\n{request.method}\n{request.url.path}\n{key}"
        self._key = hashlib.sha256(scope.encode()).hexdigest()
        self._request = request
        self._in_flight = in_flight
        self._ttl = ttl
        self._fingerprint = ""

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
        """Claim the key; the stored answer where it was claimed before. Raises KeyReused, KeyInFlight."""
        await self._read()
        if await self._claimed(work):
            return None
        row = (await work.execute(self._known())).one_or_none()  # None if the job has just deleted an expired key
        if row is None or row.claimed_at < work.now - self._ttl:
            await work.execute(delete(idempotency_keys).where(idempotency_keys.c.key == self._key))
            await self._claimed(work)
            return None
        return self._answer_in(row)

    async def stored_answer(self, reader: Reader) -> Response | None:
        """The stored answer where the key was claimed before, without a claim. Raises KeyReused, KeyInFlight."""
        await self._read()
        found = await reader.rows(self._known())
        if not found or found[0].claimed_at < reader.now - self._ttl:
            return None
        return self._answer_in(found[0])

    async def claim_last(self, work: UnitOfWork) -> None:
        """Claim the key once all else is done. Raises AnsweredMeanwhile, KeyReused, KeyInFlight."""
        if (earlier := await self.earlier_answer(work)) is not None:
            raise AnsweredMeanwhile(earlier)

    async def _read(self) -> None:
        body = await self._request.body()
        self._fingerprint = hashlib.sha256(self._request.url.query.encode() + b"\n" + body).hexdigest()

    def _known(self) -> Select[Any]:
        return select(idempotency_keys).where(idempotency_keys.c.key == self._key)

    def _answer_in(self, row: Any) -> Response:
        if row.fingerprint != self._fingerprint:
            raise KeyReused
        if row.status is None:
            raise KeyInFlight
        return Response(row.body, row.status, headers={**row.headers, "idempotency-replayed": "true"})

    async def _claimed(self, work: UnitOfWork) -> bool:
        values: dict[str, Any] = {"key": self._key, "fingerprint": self._fingerprint, "claimed_at": work.now}
        return await insert_if_absent(work, idempotency_keys, values)

    async def keep(self, work: UnitOfWork, response: Response) -> None:
        """Store the answer beside its effect."""
        if isinstance(response, StreamingResponse):
            raise TypeError("a streamed answer can't be stored: declare the route with streams=True")
        headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
        await work.execute(
            update(idempotency_keys)
            .where(idempotency_keys.c.key == self._key)
            .values(status=response.status_code, headers=headers, body=bytes(response.body).decode())
        )
