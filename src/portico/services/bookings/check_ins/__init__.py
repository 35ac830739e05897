"""Check-ins: tickets that are used at the gates of a show."""
