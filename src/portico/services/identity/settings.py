from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from portico.contracts.token_settings import TokenSettings
from portico.kit.settings import Converted, Generated, Secret, parse_duration


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session lasts without being refreshed, and altogether."""

    unused: timedelta
    total: timedelta


def _minutes(text: str) -> float:
    return float(parse_duration(text)) / 60


def _signs_with_a_secret(settings: Any) -> bool:
    return bool(settings.jwt_algorithm == "HS256")


class IdentitySettings(TokenSettings, env_prefix="IDENTITY_"):
    """Settings of identity."""

    jwt_secret: Annotated[Secret | None, Generated(when=_signs_with_a_secret)] = Field(
        None,
        validation_alias=AliasChoices("JWT_SECRET", "JWT_SECRET_KEY"),
        description="Secret that signs access tokens with HS256",
    )
    access_token_expire_minutes: Annotated[float, Converted("TOKEN_EXPIRY", _minutes)] = Field(
        60.0,
        gt=0,
        le=43_200,
        validation_alias=AliasChoices("ACCESS_TOKEN_EXPIRE_MINUTES", "JWT_EXPIRATION_MINUTES", "TOKEN_EXPIRY"),
        description="Lifetime (minutes) of access tokens",
    )
    admin_email: str | None = Field(
        None, validation_alias="ADMIN_EMAIL", description="Email of the administrator that the first start creates"
    )
    admin_password: Secret | None = Field(
        None,
        validation_alias="ADMIN_PASSWORD",
        description="Password of the administrator that the first start creates",
    )
    refresh_token_expire_days: float = Field(
        30.0, gt=0, le=400, description="Lifetime (days) of a session that is not refreshed"
    )
    session_expire_days: float = Field(
        90.0, gt=0, le=3650, description="Maximum lifetime (days) of a session that is refreshed"
    )
    refresh_token_leeway: float = Field(
        10.0,
        ge=0,
        le=120,
        description="How long (seconds) a rotated refresh token is still accepted, in case the response was lost",
    )
    browser_session_hours: float = Field(
        12.0,
        gt=0,
        le=720,
        description="How long (hours) a browser stays signed in for OAuth clients, without a password",
    )
    service_token_expire_minutes: float = Field(
        10.0, gt=0, le=60, description="Lifetime (minutes) of the access tokens of services"
    )
    sessions_per_user: int = Field(
        50, ge=1, le=1000, description="Sessions per user; a further sign-in ends the oldest session"
    )
    lockout_failures: int = Field(
        10, ge=1, le=100, description="Failed sign-ins within 15 minutes that lock an account"
    )
    lockout_failures_per_address: int = Field(
        50, ge=1, le=1000, description="Failed sign-ins within 15 minutes that lock a client address"
    )
    key_rotation_days: float = Field(90.0, gt=0, le=3650, description="How often (days) the signing key is rotated")
    key_lead_minutes: float = Field(
        15.0, ge=6, le=1440, description="How long (minutes) a new signing key is published before it signs"
    )
    password_reset_minutes: float = Field(
        60.0, gt=0, le=1440, description="Lifetime (minutes) of a token that was mailed to reset a password"
    )
    email_verification_hours: float = Field(
        24.0, gt=0, le=720, description="Lifetime (hours) of a token that was mailed to verify an email address"
    )
    breached_passwords_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="Range API that is asked for each new password by the first five digits of its SHA-1: {url}/{digits}; no look-up if unset",
    )
    breached_passwords_timeout: float = Field(
        2.0,
        gt=0,
        le=30,
        description="How long (seconds) the look-up of a breached password may take; after that the password is accepted",
    )
    password_hash: Literal["argon2id", "bcrypt"] = Field(
        "argon2id",
        validation_alias="PASSWORD_HASH",
        description="Algorithm of new password hashes; hashes by the other one are replaced at the next sign-in",
    )
    password_threads: int = Field(1, ge=1, le=64, description="Passwords hashed concurrently")
    password_queue: int = Field(
        20, ge=0, le=1000, description="Passwords that may wait to be hashed; further ones fail with 503"
    )
    password_passes: int = Field(3, ge=1, le=16, description="Passes of argon2id over its memory")
    password_memory_kib: int = Field(
        65_536, ge=64, le=1_048_576, description="Memory (KiB) that argon2id uses per hash"
    )

    @property
    def session_limits(self) -> SessionLimits:
        return SessionLimits(
            unused=timedelta(days=self.refresh_token_expire_days), total=timedelta(days=self.session_expire_days)
        )

    @property
    def has_openid(self) -> bool:
        """Whether clients can verify ID tokens. With HS256 only identity could."""
        return self.jwt_algorithm != "HS256"
