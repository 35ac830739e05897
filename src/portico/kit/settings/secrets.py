"""Secrets of a process: generated if the system runs on this machine alone, otherwise required and checked."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from portico.kit.settings.addresses import ServerAddress, is_loopback, servers_in
from portico.kit.settings.errors import SettingsError
from portico.kit.settings.fields import Generated, ServiceSettings, marker, variables_of
from portico.kit.settings.model import Settings
from portico.kit.settings.values import Secret

S = TypeVar("S", bound=ServiceSettings)

MIN_SECRET_LENGTH = 32
"""characters"""
_HOW_TO_GENERATE = 'python -c "import secrets; print(secrets.token_urlsafe(48))"'
_FILE = "secrets.json"
_STORED = ("secret_key", "service_secret")
# Secrets of tutorials and default passwords of servers, which attackers try first.
# Lower case, letters and digits only: "Change-Me!" is "changeme".
WELL_KNOWN_SECRETS = frozenset(
    """
    changeme changethis changeit changemeinproduction replaceme replacethis placeholder default example insecure notsecure
    secret supersecret topsecret mysecret thisisasecret jwtsecret yourjwtsecret yoursecret devsecret servicesecret
    secretkey supersecretkey mysecretkey thisisasecretkey jwtsecretkey yoursecretkey yoursupersecretkey mysupersecretkey
    yoursecretkeyhere yourjwtsecretkey yourjwtsecretkeyhere yoursecretkeychangethisinproduction
    yoursecretkeychangeinproduction changethissecretkeyinproduction yoursecretkeychangemeinproduction
    password passw0rd test testing development dev
    09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7
    """.split()  # noqa: SIM905 a word list reads best as words
)
WELL_KNOWN_PASSWORDS = frozenset(
    """
    postgres root toor guest admin administrator mysql mariadb redis rabbitmq mongo mongodb elastic minioadmin portico
    password passw0rd pass secret changeme change-me changethis changeit default example letmein test dev user foobared
    qwerty 1234 12345 123456 12345678 123456789
    """.split()  # noqa: SIM905 likewise
)

_MIN_DISTINCT_CHARACTERS = 6  # a random value of 32 characters has about 26


@dataclass(frozen=True, slots=True)
class Secrets:
    """The kit's secrets in force. Their text form hides them."""

    secret_key: Secret
    service_secret: Secret
    generated: bool = False
    """whether missing secrets were generated, because the system is private (see `is_private`)"""


def secrets_for(
    settings: Settings, *own: ServiceSettings, needs: Collection[str] = ("secret_key", "service_secret")
) -> Secrets:
    """Return the kit's secrets for a process.

    If the system is private (see `is_private`), missing secrets are generated once and stored in `data_dir`, so that
    all its processes agree on them. Otherwise the secrets in `needs` must be set, and strong.

    Args:
        settings: the kit's settings.
        own: the settings of the process's services.
        needs: the secrets that the process requires.

    Raises:
        SettingsError: a secret is missing, short or well known.
    """
    reason = _why_not_private(settings, *own)
    given: dict[str, Secret | None] = {name: getattr(settings, name) for name in _STORED}
    if reason is None:
        stored = embedded_secrets(settings.data_dir) if any(given[name] is None for name in needs) else {}
        values = {name: value if value is not None else stored.get(name) for name, value in given.items()}
    else:
        mistakes = [_weakness(name.upper(), given[name], reason) for name in sorted(needs)]
        if found := [mistake for mistake in mistakes if mistake is not None]:
            raise SettingsError(*found)
        values = given
    # A secret that this process does not need is random: never a well-known or an empty one.
    return Secrets(
        secret_key=values["secret_key"] or Secret(secrets.token_urlsafe(48)),
        service_secret=values["service_secret"] or Secret(secrets.token_urlsafe(48)),
        generated=reason is None,
    )


def check_settings(
    settings: Settings, own: Mapping[str, ServiceSettings], *, needs: Collection[str]
) -> dict[str, ServiceSettings]:
    """Check the secrets and server passwords of a process, and report all mistakes at once.

    Args:
        settings: the kit's settings.
        own: the settings of each service of the process, by service.
        needs: the kit's secrets that the process requires.

    Returns:
        The settings of each service with its secrets filled in.

    Raises:
        SettingsError: a secret is missing or weak, or a server on another machine has a well-known password.
    """
    checked: dict[str, ServiceSettings] = {}
    mistakes: list[str] = []

    def resolve_secrets(name: str) -> None:
        checked[name] = with_secrets(own[name], settings, *own.values())

    checks: list[Callable[[], object]] = [
        partial(check_server_passwords, settings, *own.values()),
        partial(secrets_for, settings, *own.values(), needs=needs),
        *(partial(resolve_secrets, name) for name in own),
    ]
    for check in checks:
        try:
            check()
        except SettingsError as error:
            mistakes.extend(error.messages)
    if mistakes:
        raise SettingsError(*mistakes)
    return checked


def with_secrets(own: S, settings: Settings, *others: ServiceSettings) -> S:
    """Return a service's settings with its secrets (`Generated` fields) filled in.

    If the system is private, a missing secret is derived from the generated `secret_key` in `data_dir`. Otherwise it
    must be set, and strong.

    Args:
        own: the service's settings.
        settings: the kit's settings.
        others: the settings of the process's other services.

    Raises:
        SettingsError: a secret is missing, short or well known.
    """
    kind = type(own)
    reason = _why_not_private(settings, own, *others)
    generated: dict[str, Secret] = {}
    mistakes = []
    for name, field in kind.model_fields.items():
        mark, value = marker(field, Generated), getattr(own, name)
        if mark is None or not mark.when(own):
            continue
        variable = variables_of(kind, name)[0]
        if reason is not None:
            mistakes.append(_weakness(variable, value, reason))
        elif value is None:
            generated[name] = _derived(embedded_secrets(settings.data_dir)["secret_key"], variable)
    if found := [mistake for mistake in mistakes if mistake is not None]:
        raise SettingsError(*found)
    return own.model_copy(update=generated) if generated else own


def _derived(root: Secret, variable: str) -> Secret:
    digest = hmac.digest(root.get_secret_value().encode(), f"portico setting {variable}".encode(), hashlib.sha384)
    return Secret(base64.urlsafe_b64encode(digest).decode())


def is_private(settings: Settings, *own: ServiceSettings) -> bool:
    """Return whether all data is on this machine for this system alone, and only this machine can call it.

    Missing secrets and the first administrator's account are then generated.
    """
    return _why_not_private(settings, *own) is None


def _why_not_private(settings: Settings, *own: ServiceSettings) -> str | None:
    servers = [each for each in servers_in(settings, *own) if not (settings.private_servers and each.is_local)]
    if servers:
        return f"{servers[0].variable} names a real server"
    if not is_loopback(settings.host):
        return f"HOST={settings.host} is reachable from other machines"
    return None


def _weakness(variable: str, value: Secret | None, reason: str) -> str | None:
    if value is None:
        return f"{variable} is not set, and {reason}. Set it to a value generated by {_HOW_TO_GENERATE}"
    text = value.get_secret_value()
    if is_well_known(text):
        weakness = "is the secret of an example"
    elif len(text) < MIN_SECRET_LENGTH:
        weakness = f"has {len(text)} characters"
    elif _is_repetitive(text):
        weakness = "repeats a few characters"
    else:
        return None
    return (
        f"{variable} {weakness}, and {reason}. Set it to a random value of at least {MIN_SECRET_LENGTH} characters, "
        f"generated by {_HOW_TO_GENERATE}"
    )


def is_well_known(text: str) -> bool:
    """Return whether `text` is an example's secret, possibly repeated or decorated."""
    plain = "".join(character for character in text.lower() if character.isalnum())
    return plain != "" and any(
        plain == word
        or plain.strip("0123456789") == word
        or (len(plain) % len(word) == 0 and plain.replace(word, "") == "")
        for word in WELL_KNOWN_SECRETS
    )


def _is_repetitive(text: str) -> bool:
    return len({character for character in text.lower() if character.isalnum()}) < _MIN_DISTINCT_CHARACTERS


def check_server_passwords(*settings: ServiceSettings) -> list[str]:
    """Check the passwords of the servers that the settings name.

    Returns:
        Warnings about well-known passwords of servers on this machine.

    Raises:
        SettingsError: a server on another machine has a well-known password.
    """
    weak = [server for server in servers_in(*settings) if _is_weak(server)]
    if remote := [server for server in weak if not server.is_local]:
        raise SettingsError(
            *(
                f"{server.variable} contains a well-known password for a server on another machine. Change the password of "
                f"{server.username or 'that account'} on the server and in {server.variable}."
                for server in remote
            )
        )
    return [
        f"{server.variable} contains a well-known password: accepted for a server on this machine, rejected for any other."
        for server in weak
    ]


def _is_weak(server: ServerAddress) -> bool:
    if server.password is None:
        return False
    password = unquote(server.password).lower()
    return password in WELL_KNOWN_PASSWORDS or password == (server.username or "").lower()


def embedded_secrets(data_dir: Path) -> dict[str, Secret]:
    """Return the generated secrets; the first call generates and stores them in `data_dir`, readable by the owner only.

    Processes that start concurrently agree: the complete file appears by one atomic link.

    Raises:
        SettingsError: the directory is not writable, or the file is damaged.
    """
    path = data_dir / _FILE
    try:
        if not path.exists():
            _generate(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
        stored = json.loads(path.read_text("utf-8"))
        return {name: Secret(stored[name]) for name in _STORED}
    except OSError as error:
        raise SettingsError(
            f"The generated secrets cannot be stored in {path} ({error.strerror}). Make the directory writable, or set "
            "DATA_DIR to a writable one."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path} is damaged. Restore it from a backup. Without a backup, move {data_dir} away: the data that these "
            "secrets encrypt cannot be read any more."
        ) from error


def _generate(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{_FILE}.{secrets.token_hex(8)}")
    values = {name: secrets.token_urlsafe(48) for name in _STORED}
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(values, file)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first, and its secrets are used
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
