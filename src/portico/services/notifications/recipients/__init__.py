"""Recipients: how users are reached."""
