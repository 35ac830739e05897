"""Lockout: who has guessed too often waits."""
