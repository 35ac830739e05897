"""The feed of ended sessions and tokens, for verifiers that have no broker to tell them."""
