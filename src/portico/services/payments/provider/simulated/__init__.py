"""A provider that acts out every fault. It is an outside system: its rows are its own, and so are its transactions."""
