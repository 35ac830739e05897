"""Webhooks: what the provider tells without being asked."""
