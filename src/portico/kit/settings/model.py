"""What the environment may say to a system: each setting with its default and its meaning."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from portico.kit.settings.reading import AlsoSpelled, Gathered
from portico.kit.settings.values import (
    Bytes,
    HttpUrl,
    JwtAlgorithm,
    KafkaUrl,
    LogLevel,
    LowerCase,
    NatsUrl,
    Networks,
    Origins,
    RabbitMQUrl,
    Rate,
    RedisUrl,
    Requests,
    Seconds,
    Secret,
    ServiceAddresses,
    SmtpUrl,
    parse_duration,
)

BROKERS = ("rabbitmq_url", "nats_url", "kafka_url")
"""The settings that name a broker on a server, of which a system has one."""
LOCAL_ORIGINS = tuple(f"http://localhost:{port}" for port in range(3000, 3005))


def _minutes(text: str) -> float:
    return float(parse_duration(text)) / 60


class ServiceSettings(BaseModel):
    """Base of a service's own settings: each field is read from the environment by its name in upper case."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)


class Settings(ServiceSettings):
    """What every process of a system may be told. A field's variable is its name in upper case."""

    portico_system: str = Field(
        "commerce",
        min_length=1,
        description="The system: one that Portico brings, or an import path (shop.systems:shop)",
    )

    portico_service: str | None = Field(
        None, description="The service that `uvicorn --factory portico.asgi:app` runs, by its name in the system"
    )

    # Where things are kept. An address that is not set means the embedded default, under `data_dir`.
    database_url: str | None = Field(
        None,
        repr=False,
        description="The database: postgresql://, mysql:// or sqlite:///. {service} in it makes one for each service",
    )
    database_replica_url: str | None = Field(
        None, repr=False, description="A read-only copy of the database, for reads that may lag"
    )
    database_pool_size: int = Field(10, ge=1, le=1000, description="Connections to a database, of each service")
    database_pool_timeout: Seconds = Field(
        5.0, gt=0, le=300, description="Seconds to wait for a connection before answering 503"
    )
    redis_url: RedisUrl | None = Field(
        None, repr=False, description="Redis for caches and rate limits shared between processes; memory otherwise"
    )
    smtp_url: SmtpUrl | None = Field(
        None,
        repr=False,
        description="The server that mails go to: smtp://user:password@host:587 or smtps://; a folder in DATA_DIR otherwise",
    )
    private_servers: bool = Field(
        False,
        description="The servers named are this system's own, as `portico up --servers` starts them: its secrets are made "
        "and kept as in the embedded default",
    )
    rabbitmq_url: RabbitMQUrl | None = Field(
        None,
        repr=False,
        description="RabbitMQ for events (amqp://, needs portico[rabbitmq]); one file on this machine otherwise",
    )
    nats_url: NatsUrl | None = Field(
        None, repr=False, description="NATS JetStream for events in its place (nats://, needs portico[nats])"
    )
    kafka_url: KafkaUrl | None = Field(
        None, repr=False, description="Kafka for events in its place (kafka://, needs portico[kafka])"
    )
    data_dir: Path = Field(
        Path(".portico"), description="The folder of the embedded databases, private servers and generated secrets"
    )

    # How mails go out.
    mail_from: str | None = Field(
        None, max_length=500, description="Whom mails are from: Shop <shop@shop.example>; needed with SMTP_URL"
    )
    smtp_starttls: Annotated[Literal["required", "never"] | None, LowerCase] = Field(
        None,
        description="Whether smtp:// has to turn to TLS before anything is said; unset: required, but not on this machine",
    )
    smtp_timeout: Seconds = Field(
        30.0, gt=0, le=600, description="Seconds that handing one mail to the server takes at most"
    )
    smtp_connections: int = Field(4, ge=1, le=100, description="Connections to the server at a time")
    mailbox_limit: int = Field(
        10_000, ge=1, le=1_000_000, description="Mails that the folder in DATA_DIR keeps; the oldest go first"
    )

    # What must stay secret.
    secret_key: Secret | None = Field(None, description="Encrypts what rests: signing keys, stored answers")
    service_secret: Secret | None = Field(None, description="By it services prove to identity who they are")
    webhook_secret: Secret | None = Field(
        None, description="By it the payment provider's webhooks are signed, and known to be the provider's"
    )
    jwt_algorithm: Annotated[Literal["EdDSA", "ES256", "RS256", "HS256"], JwtAlgorithm] = Field(
        "EdDSA", description="How identity signs access tokens; with HS256 every verifier must ask identity"
    )
    jwt_secret: Annotated[Secret | None, AlsoSpelled("JWT_SECRET_KEY")] = Field(
        None, description="The signing secret, for HS256 only"
    )

    # Who calls.
    issuer: str = Field("portico", min_length=1, max_length=255, description="The `iss` of access tokens")
    access_token_expire_minutes: Annotated[
        float, AlsoSpelled("JWT_EXPIRATION_MINUTES"), AlsoSpelled("TOKEN_EXPIRY", convert=_minutes)
    ] = Field(60.0, gt=0, le=43_200, description="Minutes that an access token lives")
    token_verification: Annotated[Literal["keys", "ask"] | None, LowerCase] = Field(
        None,
        description="Verify tokens by identity's public keys, or ask identity each time; the system's own if unset",
    )
    service_urls: Annotated[dict[str, ServiceAddresses], Gathered("_SERVICE_URL")] = Field(
        default_factory=dict,
        description="Where a service's instances are, comma separated: http://, https://, dns:// or srv://",
    )

    # How requests are served.
    host: str = Field("127.0.0.1", min_length=1, description="The address to listen on; 0.0.0.0 for every interface")
    cors_origins: Annotated[Origins, AlsoSpelled("CORS_ALLOWED_ORIGINS"), AlsoSpelled("ALLOWED_ORIGINS")] = Field(
        LOCAL_ORIGINS, description="Sites whose pages may call with credentials, comma separated"
    )
    trusted_proxies: Networks = Field(
        (), description="Proxies whose Forwarded and X-Forwarded-* headers are believed, comma separated networks"
    )
    rate_limit: Requests = Field(
        Rate(100, 60),
        description="Requests allowed per user, or per address where nobody is signed in",
    )
    rate_limit_sign_in: Requests = Field(
        Rate(10, 60),
        description="Sign-in attempts allowed per address",
    )
    request_timeout: Seconds = Field(30.0, gt=0, le=3600, description="Seconds until a request is given up with 504")
    max_requests: int = Field(1000, ge=1, description="Requests that the gateway serves at once, 503 beyond it")
    max_streams: int = Field(5000, ge=1, description="Event streams and WebSockets open at once, 503 beyond it")
    max_streams_each: int = Field(
        20, ge=1, description="WebSockets of one caller open at one service at once, 503 beyond it"
    )
    stream_recheck: Seconds = Field(
        5.0, gt=0, le=60, description="Seconds after which it is looked again whether who follows a WebSocket still may"
    )
    message_limit: Bytes = Field(
        16_384, ge=125, le=1 << 20, description="Bytes of a message that a client sends on a WebSocket"
    )
    rate_limit_messages: Requests = Field(Rate(60, 60), description="Messages that a client may send on a WebSocket")
    body_limit: Bytes = Field(1 << 20, ge=1024, le=1 << 30, description="Bytes of a request body, 413 beyond it")
    idempotency_ttl: Seconds = Field(
        86_400.0, ge=1, le=2_592_000, description="Seconds that the answer to an Idempotency-Key is kept"
    )
    grace_period: Seconds = Field(
        10.0, ge=0, le=600, description="Seconds that requests in flight get when the process is told to stop"
    )

    # How events travel.
    event_size_limit: Bytes = Field(1 << 20, ge=1024, le=16 << 20, description="Bytes of an event")
    event_retention: Seconds = Field(
        604_800.0,
        ge=60,
        le=31_536_000,
        description="Seconds that published events are kept, so that they can be replayed",
    )
    relay_lease: Seconds = Field(
        5.0, ge=0.1, le=300, description="Seconds until another process publishes in place of one that was killed"
    )
    event_timeout: Seconds = Field(
        30.0, gt=0, le=3600, description="Seconds until the handling of an event is given up and tried again"
    )
    event_attempts: int = Field(8, ge=1, le=100, description="Tries to handle an event before it is a dead letter")
    event_retry_delay: Seconds = Field(
        0.5, gt=0, le=3600, description="Seconds until an event that failed is tried again, doubled each time"
    )
    event_concurrency: int = Field(
        16, ge=1, le=1000, description="Events that one process of a service handles at once"
    )

    # How long transactions run.
    saga_concurrency: int = Field(32, ge=1, le=1000, description="Sagas that one process of a service is at, at once")
    saga_poll: Seconds = Field(
        1.0, gt=0, le=60, description="Seconds between two looks for sagas that another process left"
    )
    saga_retry_longest: Seconds = Field(
        60.0, gt=0, le=3600, description="Seconds that a step of a saga waits at most before it is tried again"
    )
    saga_retention: Seconds = Field(
        7_776_000.0,
        ge=3600,
        le=315_360_000,
        description="Seconds that a saga that has ended is kept, with its timeline",
    )

    # What it tells of itself.
    debug: bool = Field(False, description="Say more in logs and on the command line; never for production")
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], LogLevel] = Field(
        "info", description="The least level that is logged"
    )
    log_format: Annotated[Literal["json", "text"] | None, LowerCase] = Field(
        None, description="Log lines as json or as text for people; unset: text on a terminal, json elsewhere"
    )
    otel_exporter_otlp_endpoint: HttpUrl | None = Field(
        None, description="Where traces go (OTLP over HTTP, needs portico[otlp]); no tracing if unset"
    )
    otel_traces_sampler_arg: float = Field(
        1.0, ge=0, le=1, description="The share of new traces that are recorded; a caller's own decision is followed"
    )

    @model_validator(mode="after")
    def _one_broker(self) -> Self:
        named = [name for name in BROKERS if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(
                f"{' and '.join(named).upper().replace(' AND ', ' and ')} are set, and a system has one broker: keep one "
                "and remove the other"
            )
        return self
