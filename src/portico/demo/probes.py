"""Whether a walk is where it should be: at the gateway of the system that it is about."""

from portico.demo.walkthrough import NoAnswer, NotAsItShouldBe, Walk


async def look_around(walk: Walk, *, system: str, path: str) -> None:
    """Begin a walk.

    Args:
        walk: to the gateway.
        system: that it is about.
        path: that no other system has.

    Raises:
        NotAsItShouldBe: nobody answers, it is a service and no gateway, another system, or one that is not well.
    """
    walk.chapter("Is everybody there?")
    try:
        health = await walk.call("GET", "/health")
    except NoAnswer as error:
        raise NoAnswer(
            f"Nobody answers at {walk.base}. Start the system (portico up {system}), or leave out --url: "
            "the demo then starts one of its own."
        ) from error
    if (service := health.json().get("service")) != "gateway":
        raise NotAsItShouldBe(f"At {walk.base} is {service or 'another program'}. --url takes the gateway's address.")
    health.expect(200, status="healthy")
    document = (await walk.call("GET", "/openapi.json", quiet=True)).expect(200).json()
    if path not in document["paths"]:
        raise NotAsItShouldBe(f"The system at {walk.base} has no {path}: it is another than {system}.")
    walk.tell(f"one document describes {len(document['paths'])} paths of all services")
