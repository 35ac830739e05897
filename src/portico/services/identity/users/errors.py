from portico.kit import Conflict, Forbidden, NotFound, Unprocessable, UserId


class EmailInvalid(Unprocessable):
    detail = "This is not a usable email address: {reason}."
    location = ("body", "email")

    reason: str


class EmailTaken(Conflict):
    detail = "There is an account with this email address already. Sign in, or use another address."


class UserNotFound(NotFound):
    detail = "There is no user {user_id}."

    user_id: UserId


class UserDeleted(Conflict):
    detail = "This account was deleted and can't be brought back."


class LastAdministrator(Conflict):
    detail = "This is the last administrator. Make somebody else one first."


class BeyondOwnRights(Forbidden):
    """Somebody would hand out, or act on who holds, more than they hold themselves."""

    detail = "This concerns the permission '{permission}', which the caller does not have."

    permission: str


class WrongPassword(Forbidden):
    detail = "The current password is not right."
