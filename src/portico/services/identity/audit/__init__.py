"""The audit log: what happened that matters to security. Rows are added, never changed or removed."""
