"""The double-entry ledger, which is append-only and sums to zero, and its reconciliation with the other records."""
