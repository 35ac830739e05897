"""Tokens: issued, validated, introspected and revoked."""
