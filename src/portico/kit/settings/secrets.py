"""The secrets that a process needs: its own in the embedded default, given and strong anywhere else."""

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from portico.kit.settings.addresses import ServerAddress, is_loopback, servers_in
from portico.kit.settings.model import Settings
from portico.kit.settings.reading import SettingsError
from portico.kit.settings.values import Secret
from portico.kit.settings.well_known import WELL_KNOWN_PASSWORDS, WELL_KNOWN_SECRETS

SHORTEST_SECRET = 32
"""characters"""
_MAKE_ONE = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'
_FILE = "secrets.json"
_MADE = ("secret_key", "service_secret", "webhook_secret", "jwt_secret")

_LEAST_CHARACTERS = 6  # different ones; a random value of 32 characters has some 26


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets in force. Their text form shows none of them."""

    secret_key: Secret
    service_secret: Secret
    webhook_secret: Secret
    jwt_secret: Secret | None = None


def secrets_for(settings: Settings, *, needs: Collection[str] = ("secret_key", "service_secret")) -> Secrets:
    """The secrets of a process that runs with `settings`.

    Where all is embedded or on private servers and only this machine can call, those not given are made once and kept in
    `data_dir`, so that the processes of one machine agree on them. Anywhere else the ones in `needs` must be given, and
    strong.

    Args:
        settings: as read.
        needs: the fields that this process can't do without; `jwt_secret` is added where HS256 signs.

    Raises:
        SettingsError: one is missing, short or well known; the sentences name the variables and how to make a value.
    """
    needed = {*needs} | ({"jwt_secret"} if settings.jwt_algorithm == "HS256" and "secret_key" in needs else set())
    reason = _why_strict(settings)
    given = {name: getattr(settings, name) for name in _MADE}
    if reason is None:
        made = embedded_secrets(settings.data_dir) if any(given[name] is None for name in needed) else {}
        values = {name: value if value is not None else made.get(name) for name, value in given.items()}
    else:
        mistakes = [_weakness(name, given[name], reason) for name in sorted(needed)]
        if found := [mistake for mistake in mistakes if mistake is not None]:
            raise SettingsError(*found)
        values = given
    # What this process has no need of is a value that nobody else knows: never a well-known or an empty one.
    return Secrets(
        secret_key=values["secret_key"] or Secret(secrets.token_urlsafe(48)),
        service_secret=values["service_secret"] or Secret(secrets.token_urlsafe(48)),
        webhook_secret=values["webhook_secret"] or Secret(secrets.token_urlsafe(48)),
        jwt_secret=values["jwt_secret"] if settings.jwt_algorithm == "HS256" else None,
    )


def is_private(settings: Settings) -> bool:
    """Whether all is kept on this machine for this system alone, and only this machine can call.

    What is needed of secrets and accounts may then be made up.
    """
    return _why_strict(settings) is None


def _why_strict(settings: Settings) -> str | None:
    servers = [each for each in servers_in(settings) if not (settings.private_servers and each.local)]
    if servers:
        return f"{servers[0].variable} names a real server"
    if not is_loopback(settings.host):
        return f"HOST={settings.host} can be reached from elsewhere"
    return None


def _weakness(name: str, value: Secret | None, reason: str) -> str | None:
    variable = name.upper()
    if value is None:
        return f"{variable} is not set, and {reason}: set it to a value of its own, made by {_MAKE_ONE}"
    text = value.get_secret_value()
    if is_well_known(text):
        return f"{variable} is a value that everybody knows, and {reason}: set it to one made by {_MAKE_ONE}"
    if len(text) < SHORTEST_SECRET:
        return (
            f"{variable} is shorter than {SHORTEST_SECRET} characters, and {reason}: set it to one made by {_MAKE_ONE}"
        )
    return None


def is_well_known(text: str) -> bool:
    """Whether `text` is an example's secret, maybe repeated or decorated, or hardly more than one character."""
    plain = "".join(character for character in text.lower() if character.isalnum())
    if len(set(plain)) < _LEAST_CHARACTERS:
        return True
    return any(
        plain == word
        or plain.strip("0123456789") == word
        or (len(plain) % len(word) == 0 and plain.replace(word, "") == "")
        for word in WELL_KNOWN_SECRETS
    )


def check_server_passwords(settings: Settings) -> list[str]:
    """Warnings about well-known passwords of servers on this machine.

    Raises:
        SettingsError: such a password for a server that others can reach.
    """
    weak = [server for server in servers_in(settings) if _is_weak(server)]
    if remote := [server for server in weak if not server.local]:
        raise SettingsError(
            *(
                f"{server.variable} has a password that everybody tries first, for a server off this machine: give "
                f"{server.username or 'that account'} another one there, and here."
                for server in remote
            )
        )
    return [
        f"{server.variable} has a password that everybody tries first: fine on this machine, refused for any other."
        for server in weak
    ]


def _is_weak(server: ServerAddress) -> bool:
    if server.password is None:
        return False
    password = unquote(server.password).lower()
    return password in WELL_KNOWN_PASSWORDS or password == (server.username or "").lower()


def embedded_secrets(data_dir: Path) -> dict[str, Secret]:
    """The secrets of the embedded default, made at the first call and kept in `data_dir` for its owner's eyes only.

    Several processes that start at once agree: the file appears whole, by a link that only one of them can make.

    Raises:
        SettingsError: the folder can't be written, or the file is damaged.
    """
    path = data_dir / _FILE
    try:
        if not path.exists():
            _make(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
        kept = json.loads(path.read_text("utf-8"))
        return {name: Secret(kept[name]) for name in _MADE}
    except OSError as error:
        raise SettingsError(
            f"The secrets of the embedded default can't be kept in {path} ({error.strerror}): make the folder writable or "
            "set DATA_DIR to one that is."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path} is damaged: restore it from a copy. If there is none, move {data_dir} away: what it encrypts can't "
            "be read without it."
        ) from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{_FILE}.{secrets.token_hex(8)}")
    values = {name: secrets.token_urlsafe(48) for name in _MADE}
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its secrets are the ones
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
