"""Request with a limited body and strict JSON (RFC 8259)."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from portico.kit.foundation.problems import BadRequest, ContentTooLarge, check_content_encoding

FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 64


class BoundedRequest(Request):
    """A request that reads at most `limit` bytes of body. Its JSON has no NUL, lone surrogate, NaN or excessive depth.

    Databases reject some values that Python's own parser accepts. Those would result in a 500.
    """

    def __init__(self, scope: Scope, receive: Receive, *, limit: int) -> None:
        super().__init__(scope, receive)
        self._limit = limit
        self._parsed: Any = None
        self._content: bytes | None = None
        self._form_body: bytes | None = None
        self._form_headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        return super().headers if self._form_headers is None else self._form_headers

    async def body(self) -> bytes:
        """Return the whole body. Raises ContentTooLarge, UnsupportedMediaType, ClientDisconnect."""
        if self._form_body is not None:
            return self._form_body
        if self._content is None:
            self._content = await self._receive_body()
        return self._content

    async def stream(self) -> AsyncGenerator[bytes, None]:
        if self._content is not None:
            yield self._content
            return
        self._check_declared()
        size = 0
        async for chunk in super().stream():
            size = self._check(chunk, size)
            yield chunk

    async def _receive_body(self) -> bytes:
        """Receive the whole body, usually one message. Starlette's generators cost four times as much."""
        self._check_declared()
        parts: list[bytes] = []
        size = 0
        is_complete = False
        while not is_complete:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            is_complete = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                size = self._check(chunk, size)
                parts.append(chunk)
        return b"".join(parts)

    def _check_declared(self) -> None:
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit:
            raise ContentTooLarge(limit=self._limit)

    def _check(self, chunk: bytes, size: int) -> int:
        """Check the next part of the body after `size` bytes, and return the new size."""
        if chunk and not size:
            check_content_encoding(combined_field(self.headers, "content-encoding"))
        if size + len(chunk) > self._limit:
            raise ContentTooLarge(limit=self._limit)
        return size + len(chunk)

    async def json(self) -> Any:
        return self._parsed

    async def read_json(self) -> None:
        """Read and parse the body, if there is one. Raises BadRequest, ContentTooLarge.

        Call this before FastAPI reads the body, because FastAPI converts every error while reading to a plain 400.
        """
        if body := await self.body():
            self._parsed = parse_json(body)

    async def read_form_as_json(self) -> None:
        """Convert a form body to a JSON object with the same members. Raises BadRequest, also for a repeated field."""
        try:
            pairs = parse_qsl(
                (await self.body()).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"
            )
        except ValueError as error:
            raise BadRequest(reason="the form could not be decoded") from error
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise BadRequest(reason="a form field was sent twice")
        reject_nul(fields)
        self._form_body = orjson.dumps(fields)
        self.scope["headers"] = [
            (name, b"application/json" if name == b"content-type" else value) for name, value in self.scope["headers"]
        ]
        self._form_headers = Headers(raw=self.scope["headers"])


def combined_field(headers: Headers, name: str) -> str | None:
    """Return a list header field with its lines joined (RFC 9110 section 5.3); None if it is absent."""
    lines = headers.getlist(name)
    return ", ".join(lines) if lines else None


def parse_json(body: bytes) -> Any:
    """Parse the JSON in `body`. Raises BadRequest if it is not valid or contains NUL."""
    try:
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BadRequest(reason="the body is not valid JSON") from error
    if b"\\u0000" in body:
        reject_nul(value)
    return value


def reject_nul(value: Any) -> None:
    """Raise BadRequest if any text in `value` contains NUL."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise BadRequest(reason="text must not contain the character U+0000")
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
