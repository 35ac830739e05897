"""Accounts: who may sign in, and what a person is called."""
