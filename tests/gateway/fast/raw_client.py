"""A client that sends raw requests to a gateway and reads one response after the other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.gateway.proxy.gateways import Gateway


@dataclass
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """One connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def get(self, path: str = "/echo", *fields: str, method: str = "GET") -> RawAnswer:
        self.send(path, *fields, method=method)
        return await self.read()

    def send(self, path: str = "/echo", *fields: str, method: str = "GET") -> None:
        self.writer.write("\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway", *fields, "", ""]).encode())

    async def read(self) -> RawAnswer:
        """Read one response with Content-Length, or without a body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return RawAnswer(int(line.split(" ")[1]), headers, body)


@contextlib.asynccontextmanager
async def raw_client(gateway: Gateway) -> AsyncIterator[RawClient]:
    host, port = gateway.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(60):
            yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
