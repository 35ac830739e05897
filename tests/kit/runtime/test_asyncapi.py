import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from jsonschema_rs import Draft202012Validator, meta
from tests.cli.leaving import leaving
from tests.kit.messaging.leaving import ReaderLeft, left
from tests.support.programs import NODE, node_file

from portico.kit.messaging.envelope import serialize
from portico.kit.messaging.event import Event
from portico.kit.messaging.schemas import DIALECT
from portico.kit.runtime.asyncapi import asyncapi
from portico.kit.runtime.service import Service
from portico.kit.runtime.shipped_systems import shipped_systems
from portico.kit.runtime.system import NoSuchService, System
from portico.kit.runtime.system_loader import find_system


def documents() -> Iterator[Any]:
    for system in (leaving, *(find_system(name) for name in shipped_systems())):
        for names in (None, *([placement.name] for placement in system.placements)):
            yield pytest.param(asyncapi(system, names), id=f"{system.name}-{names[0] if names else 'whole'}")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from [each] if key == "$ref" else references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def found(document: Any, reference: str) -> Any:
    assert reference.startswith("#/")
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def payload_of(document: Any, message: str) -> Any:
    return {**document["components"]["messages"][message]["payload"], "components": document["components"]}


@pytest.mark.slow
class TestStandardParser:
    @pytest.mark.parametrize("system", [leaving, *map(find_system, shipped_systems())], ids=lambda system: system.name)
    def test_finds_no_error(self, system: System) -> None:
        node_file("@asyncapi/parser/package.json")
        command = ["node", NODE / "check_asyncapi.mjs"]

        checked = subprocess.run(command, input=orjson.dumps(asyncapi(system, None)), capture_output=True, check=True)

        found = orjson.loads(checked.stdout)
        serious = [each for each in found["diagnostics"] if each["code"] != "asyncapi-latest-version"]
        assert (found["parsed"], serious) == (True, [])


class TestStructure:
    @pytest.mark.parametrize("document", [*documents()])
    def test_references_are_complete(self, document: Any) -> None:
        assert document["asyncapi"] == "3.0.0"
        assert {"title", "version"} <= document["info"].keys()
        assert all(found(document, reference) for reference in references(document))

    @pytest.mark.parametrize("document", [*documents()])
    def test_each_operation_uses_messages_of_its_channel(self, document: Any) -> None:
        for operation in document["operations"].values():
            assert operation["action"] in {"send", "receive"}
            channel = operation["channel"]["$ref"]
            assert found(document, channel)["address"]
            assert all(each["$ref"].startswith(f"{channel}/messages/") for each in operation["messages"])

    @pytest.mark.parametrize("document", [*documents()])
    def test_each_payload_is_a_schema(self, document: Any) -> None:
        for message in document["components"]["messages"]:
            meta.validate({**payload_of(document, message), "$schema": DIALECT})


class TestContent:
    def test_lists_publishers_and_consumers(self) -> None:
        operations = asyncapi(leaving)["operations"]

        assert {name: operation["action"] for name, operation in operations.items()} == {
            "readers.send.reader.left.1": "send",
            "readers.send.reader.came.1": "send",
            "readers.send.book.lent.1": "send",
            "shelves.shelve-book-of-former-reader.reader.left.1": "receive",
        }

    def test_a_document_of_one_service(self) -> None:
        document = asyncapi(leaving, ["shelves"])

        assert list(document["operations"]) == ["shelves.shelve-book-of-former-reader.reader.left.1"]
        assert list(document["channels"]) == ["reader.left"]
        assert document["info"]["title"] == "shelves of leaving"

    def test_published_events_match_the_schema(self) -> None:
        validator = Draft202012Validator(payload_of(asyncapi(leaving), "reader.left.1"))
        document = orjson.loads(serialize(left("Dune"), source="/leaving/readers", time=datetime.now(UTC), trace=None))

        validator.validate(document)
        for name in ("id", "type", "source", "subject", "data"):
            assert not validator.is_valid({key: value for key, value in document.items() if key != name})
        assert not validator.is_valid({**document, "data": {"reader_id": "r1"}})

    def test_versions_of_a_type_share_its_channel(self) -> None:
        class LeftForGood(Event, type="reader.left", version=2, aggregate="reader_id"):
            reader_id: str

        teller = Service(name="teller", summary="Tells", module=__name__, publishes=[ReaderLeft, LeftForGood])
        document = asyncapi(System("telling", "A system", gateway=1, services={teller: 1}))

        assert list(document["channels"]["reader.left"]["messages"]) == ["reader.left.1", "reader.left.2"]

    def test_an_unknown_service_is_rejected(self) -> None:
        with pytest.raises(NoSuchService):
            asyncapi(leaving, ["nobody"])
