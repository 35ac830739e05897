"""Contracts: the events and typed clients by which services know each other, one module per service."""
