"""How Kafka is reached, and its failures told as one kind of error."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from aiokafka.errors import KafkaError

from portico.kit.foundation.aio import run_to_completion
from portico.kit.messaging.brokers.base import BrokerUnavailable

PATIENCE = 10.0  # seconds for an answer
_CLOSE = 4.0  # seconds: two heartbeats


def arguments(url: str) -> dict[str, Any]:
    """What aiokafka's clients want to know of `kafka://user:password@host:9092,host:9092`; `kafkas://` is TLS."""
    parts = urlsplit(url)
    secure = parts.scheme == "kafkas"
    found: dict[str, Any] = {
        "bootstrap_servers": parts.netloc.rpartition("@")[2].split(","),
        "request_timeout_ms": int(PATIENCE / 2 * 1000),
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
async def understood(patience: float | None = PATIENCE) -> AsyncIterator[None]:
    """Tell every failure of the broker or its driver as BrokerUnavailable, also silence for longer than `patience` (seconds)."""
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError as error:
        raise BrokerUnavailable("Kafka gave no answer in time") from error
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable(f"Kafka: {type(error).__name__}: {error}") from error


async def closed(closing: Coroutine[Any, Any, Any]) -> None:
    """Wait a little for a client to close: one whose server is away has nobody to say goodbye to.

    Also when cancelled meanwhile, and cancelled again: cut short, it would leave its connections open. One that leaves a
    group while others join takes until they have heard of that, with their next heartbeat.
    """
    await run_to_completion(_ended_in_time(closing))


async def _ended_in_time(closing: Coroutine[Any, Any, Any]) -> None:
    with suppress(Exception):
        async with asyncio.timeout(_CLOSE):
            await closing
