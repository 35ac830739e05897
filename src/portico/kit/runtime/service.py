"""Declaration of a service: data, without side effects."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import MetaData

from portico.kit.http.router import Router
from portico.kit.jobs.runner import Job
from portico.kit.messaging.consumer import Consumer
from portico.kit.messaging.event import Event
from portico.kit.service_context import ServiceContext
from portico.kit.settings import ServiceSettings

if TYPE_CHECKING:
    from portico.kit.auth.verification import TokenVerifier
    from portico.kit.sagas.definition import Saga

OpenResource = Callable[[ServiceContext], AbstractAsyncContextManager[Any]]
Background = Callable[[ServiceContext], Coroutine[Any, Any, None]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Service:
    """A service: `service = Service(name="loans", summary=…, routers=[api.router], tables=models.Table.metadata)`.

    Args:
        name: name of the service and its package. A system may give the service another name.
        summary: one line, for documents and lists.
        module: its package, `__name__`. The package's folder contains the migrations.
        routers: HTTP endpoints.
        jobs: scheduled work.
        background: work that runs in each process while the service runs: called once, cancelled at the end.
        publishes: events that it publishes.
        consumers: handlers of events.
        sagas: long transactions.
        tables: metadata of its tables.
        settings: class of the service's own settings.
        resources: objects with the lifetime of the service, by type; opened in order, closed in reverse.
        verifier: creates its token verifier, for the service that issues tokens.
        calls: names of the services that it calls.
        optional_calls: names of services that it calls in systems that have them.
        secrets: secrets of the system that it receives. Only a service that encrypts data needs SECRET_KEY.
    """

    name: str
    summary: str
    module: str
    routers: Sequence[Router] = ()
    jobs: Sequence[Job] = ()
    background: Sequence[Background] = ()
    publishes: Sequence[type[Event]] = ()
    consumers: Sequence[Consumer] = ()
    sagas: "Sequence[Saga[Any]]" = ()
    tables: MetaData = field(default_factory=MetaData)
    settings: type[ServiceSettings] | None = None
    resources: Mapping[type[Any], OpenResource] = field(default_factory=dict)
    verifier: "Callable[[ServiceContext], TokenVerifier] | None" = None
    calls: Sequence[str] = ()
    optional_calls: Sequence[str] = ()
    secrets: Sequence[Literal["secret_key", "service_secret"]] = ("service_secret",)

    def __post_init__(self) -> None:
        """Check that the class of the service's settings has a prefix.

        Raises:
            ValueError: it has none.
        """
        if self.settings is not None and not self.settings.model_config.get("env_prefix"):
            prefix = f"{self.name}_".replace("-", "_").upper()
            raise ValueError(f'{self.settings.__name__} must set env_prefix="{prefix}", after its service\'s name.')

    @property
    def migrations(self) -> Path | None:
        """Folder of its migrations; None if it has no tables."""
        folder = Path(str(import_module(self.module).__file__)).parent / "migrations"
        return folder if self.tables.tables else None
