"""Who calls, and how a service knows it by itself."""

from portico.kit.auth.access import AnyCaller, FromService, KnownCaller, SignedIn, permitted
from portico.kit.auth.principal import Principal, UserId

__all__ = ["AnyCaller", "FromService", "KnownCaller", "Principal", "SignedIn", "UserId", "permitted"]
