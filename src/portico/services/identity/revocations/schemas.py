from portico.kit import Moment, Schema
from portico.kit.auth import RevocationKind


class RevocationRead(Schema):
    """One end. `issued_before` goes with kind `user`: only tokens issued before it are ended."""

    kind: RevocationKind
    subject: str
    expires_at: Moment
    issued_before: Moment | None


class RevocationsRead(Schema):
    """A stretch of the feed. Ask again with `cursor`; at once where there is `more`."""

    revocations: list[RevocationRead]
    cursor: str
    more: bool
