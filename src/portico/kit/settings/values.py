"""Types of setting values, and how each is parsed from text."""

import ipaddress
import json
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, SecretStr

from portico.kit._compat import parse_fast_paths

Secret = SecretStr

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d|w)?", re.IGNORECASE)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>b|kb|kib|k|mb|mib|m|gb|gib|g)?", re.IGNORECASE)
_UNIT_BYTES = {"b": 1, "kb": 1_000, "kib": 1 << 10, "k": 1 << 10, "mb": 10**6, "mib": 1 << 20, "m": 1 << 20}
_UNIT_BYTES |= {"gb": 10**9, "gib": 1 << 30, "g": 1 << 30}
_RATE = re.compile(r"(?P<limit>\d{1,9})\s*(?:/|per)\s*(?P<count>\d{1,6})?\s*(?P<unit>[a-z]+)", re.IGNORECASE)
_WINDOWS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400}
_WINDOWS |= {"day": 86400}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_duration(text: Any) -> Any:
    """Parse a duration into seconds: a number of seconds, or a number with a unit `ms s m h d w` (`24h`, `500ms`).

    Raises:
        ValueError: the text is not a duration.
    """
    if not isinstance(text, str):
        return text
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError('write a duration such as "30", "30s", "5m" or "24h"')
    seconds = float(found["number"]) * _UNIT_SECONDS[(found["unit"] or "s").lower()]
    if not math.isfinite(seconds):
        raise ValueError("the duration is too long")
    return seconds


def parse_size(text: Any) -> Any:
    """Parse a size into bytes: a number, or a number with a unit (`64KiB`, `1MB`).

    Raises:
        ValueError: the text is not a size.
    """
    if not isinstance(text, str):
        return text
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError('write a size such as "65536", "64KiB" or "1MiB"')
    return round(float(found["number"]) * _UNIT_BYTES[(found["unit"] or "b").lower()])


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of requests per time window."""

    limit: int
    """requests"""
    window: int
    """seconds"""

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Parse `100/minute`, `5/second`, `1000 per hour` or `20/10s`.

        Raises:
            ValueError: the text is not a rate, or allows no request.
        """
        found = _RATE.fullmatch(text.strip())
        unit = found["unit"].lower() if found else ""
        seconds = _WINDOWS.get(unit) or _WINDOWS.get(unit.removesuffix("s"))
        if found is None or seconds is None or int(found["limit"]) == 0 or found["count"] == "0":
            raise ValueError('write a rate such as "100/minute", "5/second" or "20/10s"')
        return cls(int(found["limit"]), seconds * int(found["count"] or 1))

    def __str__(self) -> str:
        names = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
        return f"{self.limit}/{names.get(self.window, f'{self.window}s')}"


def split_list(text: Any) -> Any:
    """Split a comma separated list, or a JSON array of strings.

    Raises:
        ValueError: the text begins like a JSON array but is not valid JSON.
    """
    if not isinstance(text, str):
        return text
    if not text.lstrip().startswith("["):
        return tuple(item.strip() for item in text.split(",") if item.strip())
    try:
        return tuple(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ValueError('write the items with commas between them, or as a JSON array: ["…", "…"]') from error


def _origins(text: Any) -> Any:
    origins = split_list(text)
    for origin in origins:
        if origin == "*":
            raise ValueError('"*" would let any site act for a signed-in user; list the origins instead')
        parts = urlsplit(str(origin))
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query or parts.fragment:
            raise ValueError(
                f'"{origin}" is not an origin: write scheme, host and port only, as in https://shop.example'
            )
    return origins


def _networks(text: Any) -> Any:
    networks = []
    for item in split_list(text):
        try:
            networks.append(ipaddress.ip_network(item, strict=False))
        except ValueError as error:
            raise ValueError(f'"{item}" is not an address or network: write 10.0.0.7 or 10.0.0.0/8') from error
    return tuple(networks)


def _service_addresses(text: Any) -> Any:
    addresses = split_list(text)
    for address in addresses:
        parts = urlsplit(str(address))
        if parts.scheme not in {"http", "https", "dns", "srv"} or not parts.hostname:
            raise ValueError("write http://host:port (commas between several), dns://host:port or srv://name")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("write scheme, host and port only: services authenticate by token")
    return tuple(address.rstrip("/") for address in addresses)


def _http_url(text: Any) -> Any:
    if urlsplit(str(text)).scheme not in {"http", "https"} or not urlsplit(str(text)).netloc:
        raise ValueError("write an address such as http://localhost:4318")
    return str(text).rstrip("/")


def _redis_url(text: Any) -> Any:
    if urlsplit(str(text)).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("write an address such as redis://localhost:6379/0 (rediss:// for TLS)")
    return text


def _rabbitmq_url(text: Any) -> Any:
    if urlsplit(str(text)).scheme not in {"amqp", "amqps"} or not urlsplit(str(text)).hostname:
        raise ValueError("write an address such as amqp://user:password@localhost:5672/ (amqps:// for TLS)")
    return text


def _nats_url(text: Any) -> Any:
    for each in str(text).split(","):
        if urlsplit(each.strip()).scheme not in {"nats", "tls"} or not urlsplit(each.strip()).hostname:
            raise ValueError(
                "write an address such as nats://user:password@localhost:4222 (tls:// for TLS), commas between several"
            )
    return text


def _kafka_url(text: Any) -> Any:
    parts = urlsplit(str(text))
    if parts.scheme not in {"kafka", "kafkas"} or not parts.netloc.rpartition("@")[2]:
        raise ValueError(
            "write an address such as kafka://user:password@localhost:9092 (kafkas:// for TLS), commas between several "
            "hosts"
        )
    return text


def _lower(text: Any) -> Any:
    return text.strip().lower() if isinstance(text, str) else text


def _log_level(text: Any) -> Any:
    return {"warn": "warning", "fatal": "critical"}.get(_lower(text), _lower(text))


Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A duration in seconds; text may have a unit (`24h`)."""
Bytes = Annotated[int, BeforeValidator(parse_size)]
"""A size in bytes; text may have a unit (`1MiB`)."""
Requests = Annotated[Rate, BeforeValidator(lambda text: Rate.parse(text) if isinstance(text, str) else text)]
"""A rate of requests (`100/minute`)."""
FastPaths = Annotated[
    tuple[str, ...], BeforeValidator(lambda text: parse_fast_paths(text) if isinstance(text, str) else text)
]
"""Names of fast paths past the public APIs of libraries."""
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins)]
"""Web origins (RFC 6454): scheme, host and port."""
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
"""IP networks; a single address is a network of one."""
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
RedisUrl = Annotated[str, BeforeValidator(_redis_url)]
RabbitMQUrl = Annotated[str, BeforeValidator(_rabbitmq_url)]
NatsUrl = Annotated[str, BeforeValidator(_nats_url)]
KafkaUrl = Annotated[str, BeforeValidator(_kafka_url)]
ServiceAddresses = Annotated[tuple[str, ...], BeforeValidator(_service_addresses)]
"""Addresses of a service's instances: `http://`, `https://`, `dns://host:port` or `srv://name`."""
LowerCase = BeforeValidator(_lower)
LogLevel = BeforeValidator(_log_level)
