"""Fuzzing: call every operation of a service with valid and invalid input, generated from its OpenAPI document.

A response must not be a 5xx, and its status, media type, headers and body must match the document. `FUZZ_CASES` is the
number of cases per operation. Without it, each run uses the same few cases, so that it is fast and repeatable.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import quote

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as conformance

from portico.kit.calls.channel import Outgoing
from portico.testing.running_service import RESPONSE_TIMEOUT, RunningService

USUAL_CASES = 24  # each caller sends valid and invalid input, with known and with other identifiers
_CHECKS = [
    not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
]
_OF_THE_CLIENT = (b"content-length", b"accept-encoding")  # headers that requests adds; it would also decompress
_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@dataclass(frozen=True)
class Fuzzing:
    """The fuzzing of one service.

    Args:
        service: the running service.
        bearers: access tokens that are used in turn; None is an anonymous caller.
        known: existing values of path parameters; every other case uses one of them.
        last: paths that are called last, such as one that ends the callers' sessions.
    """

    service: RunningService
    bearers: Sequence[str | None] = (None,)
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    last: frozenset[str] = frozenset()

    async def run(self) -> int:
        """Call every operation; return the number of operations. Raises AssertionError for the first response that fails a check."""
        loop = asyncio.get_running_loop()
        document = (await self.service.anonymous.get("/openapi.json")).json()
        return await asyncio.to_thread(self._run, document, loop)

    def _run(self, document: dict[str, Any], loop: asyncio.AbstractEventLoop) -> int:
        load_all_checks()
        found = schemathesis.openapi.from_dict(document).get_all_operations()
        operations = [each.ok() if isinstance(each, Ok) else _raise(each.err()) for each in found]
        for operation in sorted(operations, key=lambda each: each.path in self.last):
            for mode in _MODES:
                self._call_with_cases(operation, mode, loop)
        return len(operations)

    def _call_with_cases(self, operation: Any, mode: GenerationMode, loop: asyncio.AbstractEventLoop) -> None:
        turns = count()
        given_cases = os.environ.get("FUZZ_CASES")

        @settings(
            max_examples=max(1, int(given_cases or USUAL_CASES) // len(_MODES)),
            derandomize=given_cases is None,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case: Any) -> None:
            rounds, turn = divmod(next(turns), len(self.bearers))
            if rounds % 2 == 0:
                self._use_known_values(case, rounds)
            response = asyncio.run_coroutine_threadsafe(self._send(case, self.bearers[turn]), loop)
            try:
                case.validate_response(response.result(), checks=_CHECKS)
            except FailureGroup as failures:
                # It is no Exception, and would end the loop that every asynchronous test and fixture runs in.
                raise AssertionError(str(failures)) from None

        run: Callable[[], None] = call
        try:
            run()
        except Unsatisfiable:
            if mode is GenerationMode.POSITIVE:
                raise  # an operation without input has no invalid cases

    def _use_known_values(self, case: Any, turn: int) -> None:
        for name in case.path_parameters or ():
            if values := self.known.get(name):
                case.path_parameters[name] = values[turn // 2 % len(values)]

    async def _send(self, case: Any, bearer: str | None) -> schemathesis.Response:
        sent = requests.Request(**_request(case.as_transport_kwargs(base_url="http://service"))).prepare()
        headers = [(name.lower().encode("latin-1"), _bytes(value)) for name, value in sent.headers.items()]
        if bearer is not None:
            headers = [pair for pair in headers if pair[0] != b"authorization"]
            headers.append((b"authorization", f"Bearer {bearer}".encode()))
        path, _, query = str(sent.path_url).partition("?")
        outgoing = Outgoing(
            service=self.service.context.name,
            method=str(sent.method),
            path=quote(path, safe="/%:@!$&'()*+,;=~-._"),
            query=query.encode(),
            headers=[pair for pair in headers if pair[0] not in _OF_THE_CLIENT],
            body=_bytes(sent.body or b""),
            timeout=RESPONSE_TIMEOUT,
        )
        answer = await self.service.channel.send(outgoing)
        return schemathesis.Response(
            answer.status, _group_by_name(answer.headers), answer.body, request=sent, elapsed=0.0, verify=False
        )


def _request(arguments: dict[str, Any]) -> dict[str, Any]:
    taken = ("method", "url", "headers", "params", "data", "json", "files", "cookies")
    return {name: value for name, value in arguments.items() if name in taken}


def _bytes(value: Any) -> bytes:
    if isinstance(value, Iterator):
        return b"".join(value)
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


def _group_by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in headers:
        grouped.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return grouped


def _raise(error: Exception) -> Any:
    raise error
