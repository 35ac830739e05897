from pydantic import Field

from portico.kit import Secret, ServiceSettings


class IdentitySettings(ServiceSettings):
    """What identity may be told besides what every process may."""

    admin_email: str | None = Field(None, description="The first administrator's email, used at the first start")
    admin_password: Secret | None = Field(
        None, description="The first administrator's password, used at the first start"
    )
    refresh_token_expire_days: float = Field(30.0, gt=0, le=400, description="Days after which an unused session ends")
    refresh_token_leeway: float = Field(
        10.0,
        ge=0,
        le=120,
        description="Seconds in which a refresh token may be used again, for an answer that was lost",
    )
    service_token_expire_minutes: float = Field(
        10.0, gt=0, le=60, description="Minutes that a service's own token lives"
    )
    sessions_per_user: int = Field(50, ge=1, le=1000, description="Sessions of one user; a further one ends the oldest")
    lockout_failures: int = Field(10, ge=1, le=100, description="Failed sign-ins in 15 minutes that lock an account")
    lockout_failures_per_address: int = Field(
        50, ge=1, le=1000, description="Failed sign-ins in 15 minutes that lock a client address out"
    )
    key_rotation_days: float = Field(90.0, gt=0, le=3650, description="Days after which a new signing key takes over")
    key_lead_minutes: float = Field(
        15.0, ge=6, le=1440, description="Minutes that a new key is published before it signs"
    )
    password_threads: int = Field(1, ge=1, le=64, description="Passwords hashed at the same time")
    password_queue: int = Field(20, ge=0, le=1000, description="Passwords that may wait to be hashed, 503 beyond it")
    password_passes: int = Field(3, ge=1, le=16, description="Passes of argon2id over its memory")
    password_memory_kib: int = Field(65_536, ge=64, le=1_048_576, description="KiB of memory argon2id takes for each")
