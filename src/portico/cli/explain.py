"""`portico explain`: what the gateway decides about a request, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portico.kit.foundation.errors import CommandError

if TYPE_CHECKING:
    from rich.table import Table

    from portico.gateway.decisions import Caller, Decision, Explanation, MatchedRequest
    from portico.gateway.request_head import Header, RequestHead
    from portico.gateway.routes import Route
    from portico.kit.runtime.system import System
    from portico.kit.settings import Settings

app = typer.Typer()

_PEER = "127.0.0.1"
_PATH_CHARACTERS = "/%:@!$&'()*+,;=~"  # what a path may contain besides letters and digits (RFC 3986 section 3.3)


@app.command()
def explain(
    method: Annotated[str, typer.Argument(help="GET, POST and so on; WEBSOCKET for a handshake.")],
    path: Annotated[str, typer.Argument(help="The path, with its query.")],
    token: Annotated[
        str | None,
        typer.Option(help="The caller's access token, which identity verifies; - reads it from standard input."),
    ] = None,
    header: Annotated[list[str] | None, typer.Option(help="A header, 'name: value'. May be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    system: Annotated[str | None, typer.Option(help="The system. Default: PORTICO_SYSTEM.")] = None,
) -> None:
    """Print what the gateway decides about a request, with its reasons. No request is sent or counted.

    No service needs to run, unless the request carries a token, which identity verifies.
    """
    import asyncio
    import sys

    if token == "-":  # noqa: S105 it stands for standard input: every process can read an argument
        token = sys.stdin.readline().strip()
    head = read_request_head(method, path, token, header or [])
    explained = asyncio.run(_decide(head, system))
    if as_json:
        import orjson

        print(orjson.dumps(_to_json(explained), option=orjson.OPT_INDENT_2).decode())
    else:
        from rich.console import Console

        Console(highlight=False).print(_table(explained))


@dataclass(frozen=True)
class ExplainedRequest:
    """A request to a system, and what the gateway decided."""

    system: str
    head: "RequestHead"
    explanation: "Explanation"


def read_request_head(method: str, path: str, token: str | None, headers: Sequence[str]) -> "RequestHead":
    """Return the request head that the command line describes. Raises CommandError."""
    from urllib.parse import quote

    from portico.gateway.request_head import RequestHead

    if not path.startswith("/"):
        raise CommandError(f"{path} is not a path.", "Write the path at the gateway, without the host: /products.")
    sent = [_read_header(text) for text in headers]
    if token is not None:
        sent.append((b"authorization", b"Bearer " + token.encode()))
    if all(name != b"host" for name, _ in sent):
        sent.append((b"host", b"localhost"))
    target, _, query = path.partition("?")
    quoted = quote(target, _PATH_CHARACTERS).encode(), quote(query, f"{_PATH_CHARACTERS}?").encode()
    return RequestHead(method.upper(), *quoted, sent, _PEER)


def _read_header(text: str) -> "Header":
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise CommandError(
            f"--header {text} is not a header.", "Write a name and a value: --header 'accept: text/html'."
        )
    return name.strip().lower().encode(), value.strip().encode()


async def _decide(head: "RequestHead", system: str | None) -> ExplainedRequest:
    """Return the decision of the gateway of `system`. Raises NoSuchSystem, SettingsError."""
    from portico.cli.environment import current_settings, find_chosen_system
    from portico.gateway import policy_of
    from portico.gateway.decisions import MatchedRequest, PolicyInputs
    from portico.kit.foundation.clock import Clock

    settings = current_settings()
    found = find_chosen_system(system, settings)
    policy, now = policy_of(found, settings), Clock().now().timestamp()
    matched = policy.match(head)
    caller = await _resolve_caller(matched, found, settings) if isinstance(matched, MatchedRequest) else None
    explanation = policy.explain(head, now, None if caller is None else PolicyInputs(caller))
    return ExplainedRequest(found.name, head, explanation)


async def _resolve_caller(matched: "MatchedRequest", system: "System", settings: "Settings") -> "Caller":
    """Return the caller. Identity verifies the token, because it knows at once of a session that has ended."""
    from portico.cli.environment import read_environment
    from portico.contracts.token_settings import TokenSettings
    from portico.contracts.token_verification import ISSUER, has_identity, verifier_for
    from portico.gateway.policy_inputs import resolve_caller
    from portico.kit.calls.client import Calls
    from portico.kit.calls.directory import Directory
    from portico.kit.calls.http_channel import HttpChannel
    from portico.kit.foundation.clock import Clock
    from portico.kit.messaging.broadcast import Broadcasts
    from portico.kit.runtime.context import layout_of
    from portico.kit.runtime.host import address_of

    introspection = read_environment(TokenSettings).value.model_copy(update={"token_verification": "ask"})
    addresses = {ISSUER: address_of(system.placement(ISSUER), settings)} if has_identity(system) else {}
    channel = HttpChannel(Directory(addresses))
    calls = Calls(channel, layout=layout_of(system))
    try:
        verifier = verifier_for(system, introspection, public=calls, own=calls, broadcasts=Broadcasts(), clock=Clock())
        return await resolve_caller(matched, verifier)
    finally:
        await channel.aclose()


def _to_json(explained: ExplainedRequest) -> dict[str, Any]:
    from portico.gateway.decisions import Forward, Refuse

    decision = explained.explanation.decision
    members: dict[str, Any] = {
        "system": explained.system,
        "method": explained.head.method,
        "path": explained.head.path.decode(),
        "decision": type(decision).__name__.lower(),
    }
    if isinstance(decision, Refuse):
        members |= {"status": decision.problem.status, "code": decision.problem.code}
    if (route := _route(decision)) is not None:
        members["route"] = {"service": route.service, "method": route.method, "path": route.path}
    if isinstance(decision, Forward):
        members |= {
            "timeout": decision.timeout,
            "body_limit": decision.body_limit,
            "repeatable": decision.is_repeatable,
        }
    return {**members, "reasons": explained.explanation.reasons}


def _route(decision: "Decision") -> "Route | None":
    from portico.gateway.decisions import Forward, Refuse

    return decision.route if isinstance(decision, Forward | Refuse) else None


def _table(explained: ExplainedRequest) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from portico.cli.times import printable
    from portico.gateway.decisions import Refuse

    head = explained.head
    request = printable(f"{head.method} {head.path.decode()}")
    is_refused = isinstance(explained.explanation.decision, Refuse)
    table = Table(title=f"{request} at {explained.system}", title_justify="left", box=None, show_header=False)
    table.add_column(justify="right", style="dim")
    table.add_column(overflow="fold")
    *reasons, result = explained.explanation.reasons
    for number, reason in enumerate(reasons, start=1):
        table.add_row(str(number), Text(printable(reason)))
    table.add_row("→", Text(printable(result), style="bold red" if is_refused else "bold green"))
    return table
