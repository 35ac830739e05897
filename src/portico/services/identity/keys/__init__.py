"""Signing keys: made, published, used and retired."""
