"""The feed of ended sessions and tokens: what verifiers were not told of, they read here."""
