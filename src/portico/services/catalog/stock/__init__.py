"""Stock: what there is of each product, what is reserved, and the ledger of which both are the sums."""
