"""What other services may know of notifications."""

from portico.kit.ids import Identifier


class NotificationId(Identifier, prefix="ntf"):
    """A notification to one person."""
