"""Authentication and authorization: principals, access tokens and who may call an endpoint."""

from typing import TYPE_CHECKING

from portico.kit.foundation.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from portico.kit.auth.access import AnyCaller, FromService, KnownCaller, PublicRead, SignedIn, permitted
    from portico.kit.auth.introspection import IntrospectionVerifier
    from portico.kit.auth.keys import PublicAlgorithm, SigningKey, VerifyingKey
    from portico.kit.auth.principal import ACT_AS_USER, EVERYTHING, SERVICE_PREFIX, Principal, UserId
    from portico.kit.auth.revocations import Revocation, RevocationKind, RevocationPage
    from portico.kit.auth.sealing import SealBroken, Sealer
    from portico.kit.auth.tokens import (
        ID_TOKEN,
        LEEWAY,
        AccessClaims,
        InvalidToken,
        Reason,
        TokenFormat,
        UnverifiedToken,
        sign_jwt,
    )
    from portico.kit.auth.verification import (
        KeyVerifier,
        TokenVerifier,
        Validation,
        VerificationUnavailable,
    )
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "access": "AnyCaller FromService KnownCaller PublicRead SignedIn permitted",
            "introspection": "IntrospectionVerifier",
            "keys": "PublicAlgorithm SigningKey VerifyingKey",
            "principal": "ACT_AS_USER EVERYTHING SERVICE_PREFIX Principal UserId",
            "revocations": "Revocation RevocationKind RevocationPage",
            "sealing": "SealBroken Sealer",
            "tokens": "ID_TOKEN LEEWAY AccessClaims InvalidToken Reason TokenFormat UnverifiedToken sign_jwt",
            "verification": "KeyVerifier TokenVerifier Validation VerificationUnavailable",
        },
    )

__all__ = [
    "ACT_AS_USER",
    "EVERYTHING",
    "ID_TOKEN",
    "LEEWAY",
    "SERVICE_PREFIX",
    "AccessClaims",
    "AnyCaller",
    "FromService",
    "IntrospectionVerifier",
    "InvalidToken",
    "KeyVerifier",
    "KnownCaller",
    "Principal",
    "PublicAlgorithm",
    "PublicRead",
    "Reason",
    "Revocation",
    "RevocationKind",
    "RevocationPage",
    "SealBroken",
    "Sealer",
    "SignedIn",
    "SigningKey",
    "TokenFormat",
    "TokenVerifier",
    "UnverifiedToken",
    "UserId",
    "Validation",
    "VerificationUnavailable",
    "VerifyingKey",
    "permitted",
    "sign_jwt",
]
