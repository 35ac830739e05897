"""A response whose body is written directly to its connection, after the request's task has ended.

Servers hand over such connections, event streams write to them, and the gateway forwards what a service writes.
"""

from typing import Protocol, runtime_checkable


class StreamSource(Protocol):
    """What writes to a stream connection."""

    def connection_lost(self) -> None:
        """The client has left, or the stream has ended. Called once."""

    def pause_writing(self) -> None:
        """The client reads more slowly than the source writes: the connection's buffer is full."""

    def resume_writing(self) -> None:
        """The buffer has room again."""


class StreamConnection(Protocol):
    """The body of one response. Methods do nothing after the connection is lost."""

    @property
    def unread(self) -> int:
        """Number of bytes that were written and that the client's side has not taken."""

    def write(self, chunk: bytes) -> None:
        """Write a part of the body, which must not be empty."""

    def end(self) -> None:
        """End the body regularly and close the connection."""

    def abort(self) -> None:
        """Close the connection at once; the client sees an incomplete response."""


@runtime_checkable
class HandsOver(Protocol):
    """A server's response that can hand over its connection."""

    def hand_over(self, source: StreamSource) -> StreamConnection | None:
        """Hand the connection of a response that has begun over to `source`; None if that is not possible."""
