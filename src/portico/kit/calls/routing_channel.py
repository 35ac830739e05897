"""Channel that calls local services directly and others over HTTP."""

from collections.abc import Container

from portico.kit.calls.channel import Channel, Incoming, Outgoing


class RoutingChannel:
    """Calls services of this process directly and others over HTTP. Callers see no difference.

    Args:
        here: names of the services in this process. It is read at each call.
        local: channel to these.
        remote: channel to the others.
    """

    def __init__(self, here: Container[str], local: Channel, remote: Channel) -> None:
        self._here = here
        self._local = local
        self._remote = remote

    async def send(self, out: Outgoing) -> Incoming:
        """Send a request over the channel of its service. Raises CallFailed, see `Channel`."""
        return await (self._local if out.service in self._here else self._remote).send(out)
