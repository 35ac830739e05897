"""What a service declares: data, without a side effect."""

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
    """A service: `service = Service(name="loans", summary=…, routers=[endpoints.router], tables=models.Table.metadata)`.

    Args:
        name: what it is called where a system does not call it otherwise; also its package's name.
        summary: one line, for documents and lists.
        module: the package it lives in, `__name__`; its migrations lie beside it.
        routers: its HTTP face.
        jobs: what it does on a clock.
        background: what goes on as long as the service runs, in each of its processes: called once, cancelled at the end.
        publishes: the events that it tells of.
        consumers: what it does on others' events.
        sagas: its long transactions.
        tables: the metadata of its tables.
        settings: its own settings' class.
        resources: what lives as long as the service runs, by type; opened in order, closed in reverse.
        verifier: how it verifies tokens itself, where it is the one who issues them.
        calls: names of the services that it calls.
        secrets: which of the system's secrets it is given; a service that encrypts nothing needs no SECRET_KEY.
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
    secrets: Sequence[Literal["secret_key", "service_secret"]] = ("service_secret",)

    def __post_init__(self) -> None:
        """Check that the service's settings have a prefix.

        Raises:
            ValueError: they have none.
        """
        if self.settings is not None and not self.settings.model_config.get("env_prefix"):
            prefix = f"{self.name}_".replace("-", "_").upper()
            raise ValueError(f'{self.settings.__name__} must set env_prefix="{prefix}", after its service\'s name.')

    @property
    def migrations(self) -> Path | None:
        """The folder of its migrations; None where it has no tables."""
        folder = Path(str(import_module(self.module).__file__)).parent / "migrations"
        return folder if self.tables.tables else None
