"""Check that a walkthrough has reached the gateway of the right system."""

from typing import Any, Final

from portico.demo.walkthrough import Walk
from portico.gateway_client import ExpectationFailed, NoResponse

_INCOMPLETE: Final = "the service is unreachable"  # words of a document that lacks services
_COMPLETE_WITHIN: Final = 60.0  # seconds
_POLL: Final = 0.2  # seconds


async def check_system(walk: Walk, *, system: str, path: str) -> None:
    """Check the health and the API of a system.

    Args:
        walk: to the gateway.
        system: its expected name.
        path: a path that no other system has.

    Raises:
        ExpectationFailed: nothing responds, or it is not a gateway, another system, or not healthy.
    """
    walk.section("Health")
    try:
        health = await walk.call("GET", "/health")
    except NoResponse as error:
        raise NoResponse(
            f"Nothing responds at {walk.base}. Start the system (portico up {system}), or omit --url: "
            "the demo then starts its own."
        ) from error
    if (service := health.json().get("service")) != "gateway":
        raise ExpectationFailed(
            f"{walk.base} is {service or 'another program'}. --url needs the address of the gateway."
        )
    health.expect(200, status="healthy")
    document = await _complete_document(walk)
    if path not in document["paths"]:
        raise ExpectationFailed(f"The system at {walk.base} has no {path}: it is not {system}.")
    walk.report(f"one document describes the {len(document['paths'])} paths of all services")


async def _complete_document(walk: Walk) -> dict[str, Any]:
    """Return the OpenAPI document of the system. On a busy machine, services may describe themselves only after a while.

    Raises:
        ExpectationFailed: the document is not complete in time.
    """
    document: dict[str, Any] = {}

    async def is_complete() -> bool:
        nonlocal document
        document = (await walk.call("GET", "/openapi.json", quiet=True)).expect(200).json()
        return _INCOMPLETE not in document.get("info", {}).get("description", "")

    await walk.until(is_complete, within=_COMPLETE_WITHIN, what="one document describes all services", every=_POLL)
    return document
