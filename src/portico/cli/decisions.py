"""What `portico explain` asks and shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from portico.cli.environment import current_settings, read_environment
from portico.cli.errors import CommandError
from portico.cli.ports import chosen_system
from portico.cli.times import printable
from portico.contracts.token_verification import ISSUER, TokenSettings, has_identity, verifier_for
from portico.gateway import policy_of
from portico.gateway.decisions import Caller, Decision, Explanation, Forward, Matched, PolicyInputs, Refuse
from portico.gateway.policy_inputs import resolve_caller
from portico.gateway.request_head import Header, RequestHead
from portico.gateway.routes import Route
from portico.kit.calls.client import Calls
from portico.kit.calls.directory import Directory
from portico.kit.calls.http_channel import HttpChannel
from portico.kit.foundation.clock import Clock
from portico.kit.messaging.broadcast import Broadcasts
from portico.kit.runtime.context import layout_of
from portico.kit.runtime.host import address_of
from portico.kit.runtime.system import System
from portico.kit.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

_PEER = "127.0.0.1"
_AS_IT_IS = "/%:@!$&'()*+,;=~"  # what a path may have besides letters and digits (RFC 3986 section 3.3)


@dataclass(frozen=True)
class Explained:
    """A request to a system, and what becomes of it."""

    system: str
    head: RequestHead
    explanation: Explanation


def head_of(method: str, path: str, token: str | None, headers: Sequence[str]) -> RequestHead:
    """The head of the request that the command line describes. Raises CommandError."""
    if not path.startswith("/"):
        raise CommandError(f"{path} is no path.", "Write it as the gateway sees it, without the host: /products.")
    sent: list[Header] = [_header(text) for text in headers]
    if token is not None:
        sent.append((b"authorization", b"Bearer " + token.encode()))
    if all(name != b"host" for name, _ in sent):
        sent.append((b"host", b"localhost"))
    target, _, query = path.partition("?")
    return RequestHead(
        method.upper(), quote(target, _AS_IT_IS).encode(), quote(query, f"{_AS_IT_IS}?").encode(), sent, _PEER
    )


async def decide(head: RequestHead, system: str | None) -> Explained:
    """What the gateway of `system` makes of the request. Raises NoSuchSystem, SettingsError."""
    settings = current_settings()
    found = chosen_system(system, settings)
    policy, now = policy_of(found, settings), Clock().now().timestamp()
    matched = policy.match(head)
    caller = await _caller(matched, found, settings) if isinstance(matched, Matched) else None
    explanation = policy.explain(head, now, None if caller is None else PolicyInputs(caller))
    return Explained(found.name, head, explanation)


def show(explained: Explained, *, as_json: bool) -> None:
    """Print it for a person, or for a program."""
    if as_json:
        import orjson

        print(orjson.dumps(_document(explained), option=orjson.OPT_INDENT_2).decode())
    else:
        from rich.console import Console

        Console(highlight=False).print(_table(explained))


async def _caller(matched: Matched, system: System, settings: Settings) -> Caller:
    """Who calls. Identity itself is asked about a token: it knows of a session that has ended a moment ago."""
    asking = read_environment(TokenSettings).value.model_copy(update={"token_verification": "ask"})
    addresses = {ISSUER: address_of(system.placement(ISSUER), settings)} if has_identity(system) else {}
    channel = HttpChannel(Directory(addresses))
    calls = Calls(channel, layout=layout_of(system))
    try:
        verifier = verifier_for(system, asking, public=calls, own=calls, broadcasts=Broadcasts(), clock=Clock())
        return await resolve_caller(matched, verifier)
    finally:
        await channel.aclose()


def _header(text: str) -> Header:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise CommandError(f"--header {text} is no header.", "Write a name and a value: --header 'accept: text/html'.")
    return name.strip().lower().encode(), value.strip().encode()


def _document(explained: Explained) -> dict[str, Any]:
    decision = explained.explanation.decision
    document: dict[str, Any] = {
        "system": explained.system,
        "method": explained.head.method,
        "path": explained.head.path.decode(),
        "decision": type(decision).__name__.lower(),
    }
    if isinstance(decision, Refuse):
        document |= {"status": decision.problem.status, "code": decision.problem.code}
    if (route := _route(decision)) is not None:
        document["route"] = {"service": route.service, "method": route.method, "path": route.path}
    if isinstance(decision, Forward):
        document |= {
            "timeout": decision.timeout,
            "body_limit": decision.body_limit,
            "repeatable": decision.is_repeatable,
        }
    return {**document, "reasons": explained.explanation.reasons}


def _route(decision: Decision) -> Route | None:
    return decision.route if isinstance(decision, Forward | Refuse) else None


def _table(explained: Explained) -> "Table":
    from rich.table import Table
    from rich.text import Text

    head = explained.head
    asked = printable(f"{head.method} {head.path.decode()}")
    refused = isinstance(explained.explanation.decision, Refuse)
    table = Table(title=f"{asked} at {explained.system}", title_justify="left", box=None, show_header=False)
    table.add_column(justify="right", style="dim")
    table.add_column(overflow="fold")
    *reasons, end = explained.explanation.reasons
    for number, reason in enumerate(reasons, start=1):
        table.add_row(str(number), Text(printable(reason)))
    table.add_row("→", Text(printable(end), style="bold red" if refused else "bold green"))
    return table
