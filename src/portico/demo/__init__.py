"""Walks through whole systems with real data, which say loudly where something is not as it should be."""
