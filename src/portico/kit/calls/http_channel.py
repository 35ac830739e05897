"""HTTP/1.1 channel to services in other processes."""

import asyncio
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from portico.kit.calls.addresses import InstanceAddress
from portico.kit.calls.breaker import is_proxy_error
from portico.kit.calls.channel import Headers, Incoming, Outgoing
from portico.kit.calls.directory import Directory, InstanceLease, InstanceState
from portico.kit.calls.errors import CallTimedOut, ConnectionLost, ResponseTooLarge, Saturated, Unreachable

_NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
_CONNECTION_HEADERS: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding"})
_NO_AUTO_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_CHUNK = 64 * 1024
_KEEP_ALIVE = 4.0  # seconds; servers close idle connections after 5, and a request at that moment would be lost


class HttpChannel:
    """Calls services at the addresses of a directory, over a pool of connections.

    It follows no redirects, stores no cookies, requests no compression and ignores proxy variables. It sends a request
    once. `RetryingChannel` retries.

    Args:
        directory: addresses of services. It is closed with the channel.
        max_in_flight: maximum number of concurrent calls and connections; further calls are rejected.
        response_limit: maximum size (bytes) of a response.
        connect_timeout: time limit (seconds) to connect.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        max_in_flight: int = 256,
        response_limit: int = 8 * 1024 * 1024,
        connect_timeout: float = 2.0,
    ) -> None:
        self._directory = directory
        self._max_in_flight = max_in_flight
        self._answer_limit = response_limit
        self._connect_timeout = connect_timeout
        self._in_flight = 0
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def open(self) -> None:
        """Create the connection pool. Without this, the first `send` creates it."""
        self._get_session()

    async def send(self, out: Outgoing) -> Incoming:
        """Call an instance of the service. Raises CallFailed, see `Channel`."""
        if self._closed:
            raise Unreachable(out.service, "the channel is closed")
        if self._in_flight >= self._max_in_flight:
            raise Saturated(out.service, limit=self._max_in_flight)
        self._in_flight += 1
        try:
            async with asyncio.timeout(out.timeout) as limit:
                with await self._directory.lease(out.service, avoiding=out.tried, probe=out.probe) as lease:
                    out.tried.add(lease.instance.address.origin)
                    try:
                        return await self._answer(out, lease)
                    except asyncio.CancelledError:
                        if limit.expired():  # the cancellation of a caller says nothing about the instance
                            lease.record_failure()
                        raise
        except TimeoutError:
            raise CallTimedOut(
                out.service, f"no response to {out.method} {out.path} within {out.timeout:.3f} s"
            ) from None
        finally:
            self._in_flight -= 1

    async def _answer(self, out: Outgoing, lease: InstanceLease) -> Incoming:
        try:
            answer = await self._exchange(out, lease.instance.address)
        except _NOTHING_SENT as error:
            lease.record_failure()
            raise Unreachable(out.service, _reason(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            lease.record_failure()
            raise ConnectionLost(out.service, _reason(error)) from error
        except ResponseTooLarge:
            lease.record_success()
            raise
        if is_proxy_error(answer.status, answer.headers):
            lease.record_failure()
        lease.record_success()
        return answer

    async def _exchange(self, out: Outgoing, address: InstanceAddress) -> Incoming:
        query = b"?" + out.query if out.query else b""
        async with self._get_session().request(
            out.method,
            URL(f"{address.origin}{out.path}{query.decode('ascii')}", encoded=True),
            headers=_request_headers(out, address),
            data=out.body or None,
            skip_auto_headers=_NO_AUTO_HEADERS,
            allow_redirects=False,
        ) as response:
            headers: Headers = [
                (lowered, value)
                for name, value in response.raw_headers
                if (lowered := name.lower()) not in _CONNECTION_HEADERS
            ]
            return Incoming(response.status, headers, await self._body(out, response))

    async def _body(self, out: Outgoing, response: aiohttp.ClientResponse) -> bytes:
        if out.method != "HEAD" and (response.content_length or 0) > self._answer_limit:
            raise ResponseTooLarge(out.service, limit=self._answer_limit)
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > self._answer_limit:
                raise ResponseTooLarge(out.service, limit=self._answer_limit)
            chunks.append(chunk)
        return b"".join(chunks)

    def _get_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_in_flight, keepalive_timeout=_KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
                auto_decompress=False,
                trust_env=False,
                middlewares=(_prevent_resend,),
            )
        return self._session

    def states(self, service: str | None = None) -> tuple[InstanceState, ...]:
        """Return the instances of one service, or of all, with their breakers."""
        return self._directory.states(service)

    async def aclose(self) -> None:
        """Reject new calls and close the connections, including those in use."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
        await self._directory.aclose()


async def _prevent_resend(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Prevent aiohttp from resending idempotent requests after errors, by converting those errors here."""
    try:
        return await handler(request)
    except _NOTHING_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(_reason(error)) from error


def _request_headers(out: Outgoing, address: InstanceAddress) -> CIMultiDict[str]:
    headers = CIMultiDict(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in out.headers_with_deadline()
    )
    headers["Host"] = address.authority
    return headers


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
