class SealBroken(RuntimeError):
    """A stored key does not open: SECRET_KEY is not the one it was sealed with, or the row was tampered with."""

    def __init__(self, kid: str) -> None:
        super().__init__(
            f"the signing key {kid} does not open with this SECRET_KEY: set the former one, "
            "or replace all keys with `portico keys rotate --withdraw`, which signs everybody out"
        )


class SharedSecretInUse(RuntimeError):
    """Keys were to be rotated where there are none."""

    def __init__(self) -> None:
        super().__init__("JWT_ALGORITHM=HS256 signs with JWT_SECRET: change that and restart to replace it")
