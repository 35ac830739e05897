"""Notifications: queued with the event that they tell of, sent, tried again, or given up."""
