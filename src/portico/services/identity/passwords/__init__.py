"""Passwords: hashed with argon2id (RFC 9106) on threads of their own, so that a storm of sign-ins slows nothing else."""
