"""Times as a user writes and reads them, and text that is safe to print on a terminal."""

from datetime import UTC, datetime, timedelta

from portico.kit.foundation.errors import CommandError
from portico.kit.settings.values import parse_duration


def read_time(text: str | None, option: str) -> datetime | None:
    """Parse a time (`2026-01-31T12:00:00Z`) or an age (`90s`, `15m`, `24h`, `7d`). Raises CommandError."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _read_age(text, option)
    if time.tzinfo is None:
        raise CommandError(f"{option} {text} has no time zone.", f"Write {text}Z for UTC, or an age: 2h.")
    return time.astimezone(UTC)


def _read_age(text: str, option: str) -> datetime:
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"{option} {text} is not a time.",
            "Write an age, such as 15m, 24h or 7d, or a time, such as 2026-01-31T12:00:00Z.",
        ) from error


def format_time(time: datetime) -> str:
    """Format a time in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def format_age(time: datetime) -> str:
    """Format the time since then in one unit: `42s`, `7m`, `3h`, `12d`."""
    seconds = max(int((datetime.now(UTC) - time).total_seconds()), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def printable(text: str) -> str:
    """Escape the control characters of text that came through a broker or a request."""
    return "".join(letter if letter.isprintable() or letter == "\n" else f"\\x{ord(letter):02x}" for letter in text)
