"""A payment provider that simulates every fault. It is an outside system with its own tables and transactions."""
