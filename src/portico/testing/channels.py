"""A channel that returns scripted responses."""

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
