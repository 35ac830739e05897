"""The embedded mailbox, for who looks after a system that sends no mail yet."""
