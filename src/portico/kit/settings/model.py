"""Settings of the kit: what every process of a system reads, with defaults and descriptions."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from portico.kit._compat import FAST_PATHS
from portico.kit.settings.fields import BySuffix, NamesServer, OnlyInEnvironment, ServiceSettings
from portico.kit.settings.values import (
    Bytes,
    FastPaths,
    HttpUrl,
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
)

BROKERS = ("rabbitmq_url", "nats_url", "kafka_url")
"""The settings that name a broker on a server. A system has at most one."""
PRIVATE_NETWORKS = tuple(
    ip_network(each)
    for each in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)
"""Addresses of this machine, of private networks and of the link (RFC 1918, 3927, 4193 and 4291)."""
LOCAL_ORIGINS = tuple(f"http://localhost:{port}" for port in range(3000, 3005))


class Settings(ServiceSettings):
    """Settings of every process. A field's variable is its name in upper case."""

    portico_system: str | None = Field(
        None,
        min_length=1,
        description="The system: a shipped one by name, or an import path (shop.systems:shop); the portico command uses "
        "the one in the pyproject.toml of the working directory if unset, else commerce",
    )

    portico_service: str | None = Field(
        None, description="The service that `uvicorn --factory portico.asgi:app` runs, by its name in the system"
    )

    # Where data is stored. An unset address selects the embedded backend, in files under `data_dir`.
    database_url: Annotated[str | None, NamesServer()] = Field(
        None,
        repr=False,
        description="The database: postgresql://, mysql:// or sqlite:///. {service} in it gives each service its own",
    )
    database_replica_url: Annotated[str | None, NamesServer()] = Field(
        None, repr=False, description="A read-only replica of the database, for reads that tolerate replication lag"
    )
    database_pool_size: int = Field(
        10,
        ge=1,
        le=1000,
        description="Database connections per service and process; a quarter is kept for sagas, relay, consumers and jobs",
    )
    database_pool_timeout: Seconds = Field(
        5.0, gt=0, le=300, description="How long (seconds) a request waits for a connection before it fails with 503"
    )
    database_connect_timeout: Seconds = Field(
        5.0, gt=0, le=300, description="How long (seconds) a new connection to a database server may take"
    )
    redis_url: Annotated[RedisUrl | None, NamesServer()] = Field(
        None, repr=False, description="Redis for caches and rate limits shared by processes; memory if unset"
    )
    private_servers: bool = Field(
        False,
        description="Whether the configured servers belong to this system alone, as `portico up --servers` starts them; its "
        "secrets are then generated",
    )
    rabbitmq_url: Annotated[RabbitMQUrl | None, NamesServer()] = Field(
        None,
        repr=False,
        description="RabbitMQ as the broker (amqp://, needs portico[rabbitmq]); an embedded broker if unset",
    )
    nats_url: Annotated[NatsUrl | None, NamesServer()] = Field(
        None, repr=False, description="NATS JetStream as the broker (nats://, needs portico[nats])"
    )
    kafka_url: Annotated[KafkaUrl | None, NamesServer()] = Field(
        None, repr=False, description="Kafka as the broker (kafka://, needs portico[kafka])"
    )
    data_dir: Path = Field(
        Path(".portico"), description="Directory of the embedded databases, private servers and generated secrets"
    )

    # Secrets.
    secret_key: Secret | None = Field(None, description="Secret that encrypts stored signing keys and stored responses")
    service_secret: Secret | None = Field(
        None, description="Client secret that services use to authenticate with identity"
    )

    # Calls between services.
    service_urls: Annotated[dict[str, ServiceAddresses], BySuffix("_SERVICE_URL")] = Field(
        default_factory=dict,
        description="Addresses of a service's instances, comma separated: http://, https://, dns:// or srv://",
    )

    # How requests are served.
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for every interface")
    cors_origins: Origins = Field(
        LOCAL_ORIGINS,
        validation_alias=AliasChoices("CORS_ORIGINS", "CORS_ALLOWED_ORIGINS", "ALLOWED_ORIGINS"),
        description="Origins allowed to call with credentials (CORS), comma separated",
    )
    trusted_proxies: Networks = Field(
        (), description="Proxies whose Forwarded and X-Forwarded-* headers are trusted, comma separated networks"
    )
    proxy_protocol: bool = Field(
        False,
        description="Whether connections from TRUSTED_PROXIES to the gateway begin with a header of the PROXY protocol, "
        "version 1 or 2, which names the client",
    )
    tls_certificate: Path | None = Field(
        None, description="Certificate of the gateway with its chain, a PEM file; the gateway then serves only https://"
    )
    tls_key: Path | None = Field(None, description="Private key of TLS_CERTIFICATE, a PEM file without a password")
    operator_networks: Networks = Field(
        PRIVATE_NETWORKS,
        description="Networks whose clients may read the gateway's `/metrics` and `/health/detailed`; others need the "
        "permission `gateway:read`. Comma separated",
    )
    rate_limit: Requests = Field(Rate(100, 60), description="Requests per user, or per client address if anonymous")
    rate_limit_sign_in: Requests = Field(Rate(10, 60), description="Sign-in attempts per client address")
    rate_limit_token: Requests = Field(
        Rate(120, 60),
        description="Requests to the OAuth token endpoint per client address; sign-ins with a password also count as such",
    )
    rate_limit_holds: Requests = Field(Rate(30, 60), description="Requests per user to hold places of a show")
    public_reads: bool = Field(
        default=True, description="Whether events, seat maps and search of ticketing can be read without a token"
    )
    request_timeout: Seconds = Field(
        30.0, gt=0, le=3600, description="How long (seconds) a request may take before it fails with 504"
    )
    head_timeout: Seconds = Field(
        10.0, gt=0, le=300, description="How long (seconds) the head of a request may take before it fails with 408"
    )
    health_timeout: Seconds = Field(
        2.0, gt=0, le=60, description="How long (seconds) a dependency may take to respond to a health check"
    )
    max_requests: int = Field(1000, ge=1, description="Concurrent requests of the gateway; further ones fail with 503")
    max_connections: int = Field(
        10_000, ge=1, description="Open connections of each port; requests on further ones fail with 503"
    )
    max_client_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="Share (0 to 1) of MAX_REQUESTS, MAX_STREAMS and MAX_CONNECTIONS that one client address may hold",
    )
    max_streams: int = Field(
        5000, ge=1, description="Concurrently open event streams and WebSockets; further ones fail with 503"
    )
    max_streams_each: int = Field(
        20,
        ge=1,
        description="Concurrently open event streams and WebSockets per caller and service; further ones fail with 503",
    )
    stream_recheck: Seconds = Field(
        5.0,
        gt=0,
        le=60,
        description="How often (seconds) the authorization of an open WebSocket or event stream is re-checked",
    )
    stream_keep_alive: Seconds = Field(
        15.0,
        gt=0,
        le=300,
        description="How long (seconds) an event stream is idle before a comment is sent to its reader",
    )
    message_limit: Bytes = Field(
        16_384, ge=125, le=1 << 20, description="Maximum size (bytes) of a message that a client sends on a WebSocket"
    )
    rate_limit_messages: Requests = Field(Rate(60, 60), description="Messages per client on a WebSocket")
    body_limit: Bytes = Field(
        1 << 20, ge=1024, le=1 << 30, description="Maximum size (bytes) of a request body; larger ones fail with 413"
    )
    body_min_rate: Bytes = Field(
        512,
        ge=1,
        description="Minimum speed (bytes per second) at which a request body arrives; slower ones fail with 408",
    )
    body_grace: Seconds = Field(
        10.0,
        gt=0,
        le=3600,
        description="How long (seconds) a client may take to send a request body in addition to its size / BODY_MIN_RATE",
    )
    idempotency_ttl: Seconds = Field(
        86_400.0,
        ge=1,
        le=2_592_000,
        description="How long (seconds) the response to an Idempotency-Key is stored and replayed",
    )
    grace_period: Seconds = Field(
        10.0, ge=0, le=600, description="How long (seconds) requests in flight may continue during shutdown"
    )

    # Events.
    event_size_limit: Bytes = Field(1 << 20, ge=1024, le=16 << 20, description="Maximum size (bytes) of an event")
    event_retention: Seconds = Field(
        604_800.0,
        ge=60,
        le=31_536_000,
        description="How long (seconds) published events are kept for replays",
    )
    relay_lease: Seconds = Field(
        5.0,
        ge=0.1,
        le=300,
        description="How long (seconds) until another process takes over the relay of a process that was killed",
    )
    event_timeout: Seconds = Field(
        30.0,
        gt=0,
        le=3600,
        description="How long (seconds) a consumer may handle an event before it is cancelled and retried",
    )
    event_attempts: int = Field(
        8, ge=1, le=100, description="Attempts to handle an event before it becomes a dead letter"
    )
    event_retry_delay: Seconds = Field(
        0.5, gt=0, le=3600, description="Delay (seconds) before the first retry of a failed event; doubles each time"
    )
    event_concurrency: int = Field(
        64,
        ge=1,
        le=1000,
        description="Events that one process of a service handles concurrently; events that arrive together share a transaction",
    )

    # Requests that are committed together.
    group_commit_batch: int = Field(
        128, ge=1, le=1000, description="Maximum number of concurrent requests that are committed in one transaction"
    )
    group_commit_queue: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="Maximum number of requests that wait for a shared commit; further ones fail with 503",
    )

    # Sagas.
    saga_concurrency: int = Field(
        128, ge=1, le=1000, description="Sagas that one process of a service executes concurrently"
    )
    saga_batch: int = Field(
        128,
        ge=1,
        le=1000,
        description="Maximum number of sagas with similar steps that are committed in one transaction",
    )
    saga_poll: Seconds = Field(
        5.0, gt=0, le=60, description="How often (seconds) a process looks for sagas that other processes abandoned"
    )
    saga_retry_limit: Seconds = Field(
        60.0, gt=0, le=3600, description="Maximum delay (seconds) between two attempts of a saga step"
    )
    saga_retention: Seconds = Field(
        7_776_000.0,
        ge=3600,
        le=315_360_000,
        description="How long (seconds) finished sagas are kept with their timelines",
    )

    # Telemetry.
    debug: bool = Field(False, description="More detail in logs and on the command line; not for production")
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], LogLevel] = Field(
        "info", description="Minimum level of logged events"
    )
    log_format: Annotated[Literal["json", "text"] | None, LowerCase] = Field(
        None, description="Format of log lines; text on a terminal and json elsewhere if unset"
    )
    log_sql: bool = Field(
        False, description="Whether each SQL statement is logged, without its values; for development"
    )
    otel_exporter_otlp_endpoint: HttpUrl | None = Field(
        None, description="Collector that traces are exported to (OTLP/HTTP, needs portico[otlp]); no tracing if unset"
    )
    otel_traces_sampler_arg: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share (0 to 1) of new traces that are recorded; callers' decisions take precedence",
    )

    # Private APIs of libraries.
    compat_fast_paths: Annotated[FastPaths, OnlyInEnvironment()] = Field(
        FAST_PATHS,
        description="Fast paths that use private APIs of libraries, comma separated; `none` uses public APIs only",
    )

    @property
    def gateway_scheme(self) -> str:
        """The scheme of the gateway's URL on this machine."""
        return "http" if self.tls_certificate is None else "https"

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS_CERTIFICATE and TLS_KEY belong together. Set both, or none")
        if self.tls_certificate is not None and self.proxy_protocol:
            raise ValueError(
                "PROXY_PROTOCOL and TLS_CERTIFICATE are set, but the gateway does not read the header before TLS. Let the "
                "proxy terminate TLS, or remove PROXY_PROTOCOL"
            )
        return self

    @model_validator(mode="after")
    def _one_broker(self) -> Self:
        named = [name for name in BROKERS if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(
                f"{' and '.join(name.upper() for name in named)} are set, but a system has one broker. Keep one and remove "
                "the other"
            )
        return self
