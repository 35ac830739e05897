from portico.contracts.identity import SessionId
from portico.kit import NotFound, Unauthorized


class RefreshRefused(Unauthorized):
    detail = "This refresh token is of no use any more. Sign in again."


class SessionNotFound(NotFound):
    detail = "The caller has no session {session_id}."

    session_id: SessionId
