from portico.kit import Unauthorized


class SignInRefused(Unauthorized):
    """The same for an address that nobody has and for a wrong password."""

    detail = "The email address or the password is not right."
