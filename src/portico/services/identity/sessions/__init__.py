"""Sessions of users, their refresh tokens, and the feed of revocations."""
