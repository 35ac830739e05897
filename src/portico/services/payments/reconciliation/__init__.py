"""Reconciliation: ledger, payments, provider and orders, held against one another."""
