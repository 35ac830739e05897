"""Event streams that a service writes directly to the client's connection: they need no task of the gateway."""

from collections.abc import Callable

from portico.gateway.access_log import Outcome
from portico.kit.foundation.stream_connection import StreamConnection, StreamSource


class RelayedStream:
    """The rest of a response. The service's connection writes to it, and the client's connection can pause it.

    A client that reads slowly slows down its service, as in every response.
    """

    __slots__ = ("_client", "_on_end", "_outcome", "_source")

    def __init__(self) -> None:
        self._client: StreamConnection | None = None
        self._source: StreamSource | None = None
        self._outcome: Outcome | None = None
        self._on_end: Callable[[Outcome], None] | None = None

    def connect(self, client: StreamConnection, redirect: Callable[[StreamConnection], StreamSource]) -> None:
        """Let the service write to the client.

        Args:
            client: the client's connection.
            redirect: redirects the service's response to this stream, and returns its source.
        """
        self._client = client
        source = redirect(self)
        if self._outcome is None:
            self._source = source
        else:
            source.connection_lost()

    def on_end(self, act: Callable[[Outcome], None]) -> None:
        """Call `act` when the stream ends, or at once if it has already ended."""
        if self._outcome is None:
            self._on_end = act
        else:
            act(self._outcome)

    def stop(self) -> None:
        """End the stream, because the gateway shuts down."""
        self._finish(Outcome.STOPPED)
        if self._client is not None:
            self._client.end()

    # The service writes

    @property
    def unread(self) -> int:
        return 0 if self._client is None else self._client.unread

    def write(self, chunk: bytes) -> None:
        if self._client is not None:
            self._client.write(chunk)

    def end(self) -> None:
        self._finish(Outcome.COMPLETE)
        if self._client is not None:
            self._client.end()

    def abort(self) -> None:
        self._finish(Outcome.BROKEN)
        if self._client is not None:
            self._client.abort()

    # The client's connection

    def connection_lost(self) -> None:
        self._client = None
        self._finish(Outcome.CLIENT_GONE)

    def pause_writing(self) -> None:
        if self._source is not None:
            self._source.pause_writing()

    def resume_writing(self) -> None:
        if self._source is not None:
            self._source.resume_writing()

    def _finish(self, outcome: Outcome) -> None:
        if self._outcome is not None:
            return
        self._outcome = outcome
        source, self._source = self._source, None
        if source is not None:
            source.connection_lost()
        act, self._on_end = self._on_end, None
        if act is not None:
            act(outcome)
