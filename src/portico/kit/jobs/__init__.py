"""Scheduled work: each job runs once per interval among all processes of a service."""
