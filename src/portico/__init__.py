"""Portico: working services behind one gateway, and the kit that they are made of."""

__version__ = "0.1.0"
