"""Tokens: sign-in, refresh, tickets, OAuth (RFC 6749), validation and signing keys."""
