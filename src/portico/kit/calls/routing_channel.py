from collections.abc import Container

from portico.kit.calls.channel import Channel, Incoming, Outgoing


class RoutingChannel:
    """Services in this process are called in it, the others by HTTP; the code that calls can't tell.

    Args:
        here: The names of the services in this process; it is looked at for each call.
        local: The way to these.
        remote: The way to the others.
    """

    def __init__(self, here: Container[str], local: Channel, remote: Channel) -> None:
        self._here = here
        self._local = local
        self._remote = remote

    async def send(self, out: Outgoing) -> Incoming:
        """Send a request the way that leads to its service. Raises CallFailed, see `Channel`."""
        return await (self._local if out.service in self._here else self._remote).send(out)
