"""OpenAPI documents, of services that are opened in a scratch folder to be asked for them."""

from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from portico.cli.environment import current_settings
from portico.cli.ports import GATEWAY, chosen_system
from portico.kit.calls.channel import Outgoing
from portico.kit.calls.local import LocalChannel
from portico.kit.runtime.system import System
from portico.kit.runtime.system_loader import shipped_systems
from portico.kit.settings import Environment
from portico.systems.composition import Composition

_PATIENCE = 30.0  # seconds


def meant(name: str | None, system: str | None) -> tuple[System, str | None]:
    """The system that `name` is, or the one in which it is a service, and then the service. Raises NoSuchSystem, NoSuchService."""
    is_system = name is None or ":" in name or (name in shipped_systems() and system is None)
    found = chosen_system(name if is_system and name is not None else system, current_settings())
    return found, None if is_system or name is None else found.placement(name).name


async def document(name: str | None, system: str | None) -> bytes:
    """The document of the system or service `name`, indented. Raises NoSuchSystem, NoSuchService."""
    found, service = meant(name, system)
    part = service or GATEWAY
    with TemporaryDirectory() as folder:
        environment = Environment({"DATA_DIR": str(Path(folder))})
        parts = None if part == GATEWAY else [part]
        async with Composition(found, environment, parts=parts, background=False) as whole:
            channel = LocalChannel(whole.apps)
            asked = Outgoing(service=part, method="GET", path="/openapi.json", timeout=_PATIENCE)
            answer = await channel.send(asked)
            await channel.aclose()
    return orjson.dumps(orjson.loads(answer.body), option=orjson.OPT_INDENT_2)
