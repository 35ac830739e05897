"""Payments: charges, once by key, and the voids that win over them."""
