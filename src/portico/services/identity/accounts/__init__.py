"""What callers do with their own accounts."""
