"""Voids: nothing is or stays charged by a key, whether or not it was used yet."""
