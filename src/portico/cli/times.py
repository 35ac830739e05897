"""Moments as a person says them, and text of others as a terminal may show it."""

from datetime import UTC, datetime, timedelta

from portico.cli.errors import CommandError
from portico.kit.settings.values import parse_duration


def read_moment(text: str | None, option: str) -> datetime | None:
    """`2026-01-31T12:00:00Z`, or how long ago: `90s`, `15m`, `24h`, `7d`. Raises CommandError."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _ago(text, option)
    if moment.tzinfo is None:
        raise CommandError(f"{option} {text} names no time zone.", f"Write {text}Z for UTC, or how long ago: 2h.")
    return moment.astimezone(UTC)


def _ago(text: str, option: str) -> datetime:
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"{option} {text} is no time.",
            "Write how long ago, as in 15m, 24h or 7d, or a time as 2026-01-31T12:00:00Z.",
        ) from error


def shown(moment: datetime) -> str:
    """To the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def age(moment: datetime) -> str:
    """How long ago, in one unit: `42s`, `7m`, `3h`, `12d`."""
    seconds = max(int((datetime.now(UTC) - moment).total_seconds()), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def printable(text: str) -> str:
    """`text` with its control characters spelled out: what came by a broker must not steer somebody's terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else f"\\x{ord(letter):02x}" for letter in text)
