"""Contract suites that every backend must pass."""
