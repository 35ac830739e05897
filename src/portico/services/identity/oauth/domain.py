from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """A client that names itself, and the secret by which it proves it."""

    client_id: str
    secret: str
