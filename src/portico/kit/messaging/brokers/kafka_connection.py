"""Connection options and error translation for Kafka."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from aiokafka.errors import KafkaError

from portico.kit.foundation.aio import run_to_completion
from portico.kit.messaging.brokers.base import BrokerUnavailable

REQUEST_TIMEOUT = 10.0  # seconds to wait for a response
_CLOSE = 4.0  # seconds to wait for a client to close: two heartbeats


def arguments(url: str) -> dict[str, Any]:
    """Return aiokafka's client options for `kafka://user:password@host:9092,host:9092`. `kafkas://` uses TLS."""
    parts = urlsplit(url)
    secure = parts.scheme == "kafkas"
    found: dict[str, Any] = {
        "bootstrap_servers": parts.netloc.rpartition("@")[2].split(","),
        "request_timeout_ms": int(REQUEST_TIMEOUT / 2 * 1000),
        "security_protocol": "SSL" if secure else "PLAINTEXT",
    }
    if secure:
        found["ssl_context"] = ssl.create_default_context()
    account, _, _ = parts.netloc.rpartition("@")
    if account:
        name, _, password = account.partition(":")
        found["security_protocol"] = f"SASL_{found['security_protocol']}"
        found |= {"sasl_mechanism": "PLAIN", "sasl_plain_username": unquote(name)}
        found["sasl_plain_password"] = unquote(password)
    return found


@asynccontextmanager
async def translate_errors(within: float | None = REQUEST_TIMEOUT) -> AsyncIterator[None]:
    """Raise driver errors and time-outs as BrokerUnavailable.

    Args:
        within: time-out in seconds; None for no limit.
    """
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError as error:
        raise BrokerUnavailable("Kafka did not respond in time") from error
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable(f"Kafka: {type(error).__name__}: {error}") from error


async def close_client(closing: Coroutine[Any, Any, Any]) -> None:
    """Close a client, waiting at most `_CLOSE` seconds, even when this task is cancelled.

    An interrupted close would leave connections open. If other clients join the group meanwhile, the close lasts until
    their next heartbeat.
    """
    await run_to_completion(_close_in_time(closing))


async def _close_in_time(closing: Coroutine[Any, Any, Any]) -> None:
    with suppress(Exception):
        async with asyncio.timeout(_CLOSE):
            await closing
