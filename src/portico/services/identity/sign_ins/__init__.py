"""Signing in: the check of a password, the same in answer and in time whatever is wrong."""
