"""Channels of tests: scripted responses, and batches for services that a test simulates."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson

from portico.kit.calls.channel import CallFailed, Headers, Incoming, Outgoing


class ScriptedChannel:
    """Returns the next response of its script for each call, repeats the last one, and records the requests."""

    def __init__(self, *script: Incoming | CallFailed) -> None:
        self.script = list(script)
        self.sent: list[Outgoing] = []

    async def send(self, out: Outgoing) -> Incoming:
        self.sent.append(out)
        outcome = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(outcome, CallFailed):
            raise outcome
        return outcome


def canned_response(status: int = 200, body: bytes = b"{}", headers: Headers | None = None) -> Incoming:
    """Return a JSON response."""
    return Incoming(status, [(b"content-type", b"application/json"), *(headers or [])], body)


async def answer_batch(out: Outgoing, send: Callable[[Outgoing], Awaitable[Incoming]]) -> Incoming:
    """Return the response of a batch endpoint (`add_batch_route`) whose single requests `send` handles.

    A single request that raises CallFailed is reported as not ready, so that it is sent alone.
    """
    answers: list[dict[str, Any]] = []
    for item in orjson.loads(out.body):
        key = [] if item["key"] is None else [(b"idempotency-key", item["key"].encode())]
        headers = [*out.headers, *key]
        body = b"" if item["body"] is None else orjson.dumps(item["body"])
        try:
            answer = await send(replace(out, method=item["method"], path=item["path"], headers=headers, body=body))
        except CallFailed:
            answers.append({"status": None, "headers": {}, "body": None})
            continue
        retry_after = answer.header(b"retry-after")
        known = {} if retry_after is None else {"retry-after": retry_after.decode()}
        parsed = orjson.loads(answer.body) if answer.body else None
        answers.append({"status": answer.status, "headers": known, "body": parsed})
    return canned_response(200, orjson.dumps(answers))
