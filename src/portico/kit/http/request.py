"""A request whose body is bounded and whose JSON is what RFC 8259 calls JSON."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from portico.kit.foundation.problems import BadRequest, ContentTooLarge

FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 64


class BoundedRequest(Request):
    """Reads at most `limit` bytes of body; its JSON has no NUL, no lone surrogate, no NaN and no endless depth.

    Databases refuse what Python's own parser lets through, and their refusal would be a 500.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, limit: int) -> None:
        super().__init__(scope, receive, send)
        self._limit = limit
        self._parsed: Any = None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit:
            raise ContentTooLarge(limit=self._limit)
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > self._limit:
                raise ContentTooLarge(limit=self._limit)
            yield chunk

    async def json(self) -> Any:
        return self._parsed

    async def read_json(self) -> None:
        """Read and parse the body, where there is one. Raises BadRequest, ContentTooLarge.

        Done before FastAPI asks for it, since FastAPI makes a plain 400 of whatever goes wrong while it reads.
        """
        if body := await self.body():
            self._parsed = parse_json(body)

    async def read_form_as_json(self) -> None:
        """Take a body of form fields for the JSON object of the same members; a member sent twice is refused."""
        try:
            pairs = parse_qsl(
                (await self.body()).decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
            )
        except ValueError as error:
            raise BadRequest(reason="the form could not be decoded") from error
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise BadRequest(reason="a form field was sent twice")
        self._body = orjson.dumps(fields)
        refuse_nul(fields)
        self.scope["headers"] = [
            (name, b"application/json" if name == b"content-type" else value) for name, value in self.scope["headers"]
        ]
        del self._headers


def parse_json(body: bytes) -> Any:
    """The JSON in `body`. Raises BadRequest where it is none, or where it holds what no text column can."""
    try:
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BadRequest(reason="the body is not valid JSON") from error
    if b"\\u0000" in body:
        refuse_nul(value)
    return value


def refuse_nul(value: Any) -> None:
    """Raise BadRequest where a text anywhere in `value` holds a NUL."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise BadRequest(reason="text must not hold the character U+0000")
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
