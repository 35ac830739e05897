"""One service for any ASGI server: `PORTICO_SERVICE=identity uvicorn --factory portico.asgi:app`."""

from starlette.types import ASGIApp

from portico.contracts.token_verification import verifier_of
from portico.kit.runtime.standalone import StandaloneService


def app() -> ASGIApp:
    """Return the application of the service PORTICO_SERVICE of the system PORTICO_SYSTEM."""
    return StandaloneService(verifier_of=verifier_of)
