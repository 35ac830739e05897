"""The W3C trace context: read from and written to the `traceparent` header, and stored with events and sagas."""

import random
import re
from dataclasses import dataclass

# Accepts version 00 exactly; of later versions only the fields of 00 are read (W3C Trace Context level 1, section 3.2.4).
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_HEADER_LENGTH = 256
_LOWEST_BITS = 1 << 64 | 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The position of an operation in a trace (W3C Trace Context, level 1).

    Args:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits: the span that is the parent of the next one.
        sampled: whether the trace is recorded.
    """

    trace_id: str
    span_id: str
    sampled: bool = False

    @classmethod
    def parse(cls, header: str | None) -> "TraceContext | None":
        """Return the context in a `traceparent` header; None if the header is absent or invalid."""
        if header is None or len(header) > _MAX_HEADER_LENGTH:
            return None
        found = _TRACEPARENT.fullmatch(header)
        if found is None or (found[1] == "00" and found[5] is not None):
            return None
        return cls(found[2], found[3], bool(int(found[4], 16) & 1))

    @classmethod
    def new(cls) -> "TraceContext":
        """Return the root of a new trace that is not recorded."""
        # Identifiers need not be secret, only distinct. Zero is invalid, so the lowest bit of both is set.
        digits = f"{random.getrandbits(192) | _LOWEST_BITS:048x}"
        return cls(digits[:32], digits[32:])

    def __str__(self) -> str:
        """Return the `traceparent` header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"
