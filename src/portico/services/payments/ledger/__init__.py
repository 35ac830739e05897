"""The ledger: double entry, append-only; whatever happens, its sum is zero."""
