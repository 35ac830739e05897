"""TLS of the gateway's port, on the fast plane, with certificates made here."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog.testing
import uvloop
from tests.gateway.proxy.gateways import Gateway, gateway_for_app
from tests.gateway.proxy.scripted_service import Service
from tests.support.smtp import Certificate

from portico.gateway.fast import FastConnection
from portico.kit.foundation import wait_for_event
from portico.kit.runtime.serving import ServedApp, Servers, bind
from portico.kit.runtime.tls import CertificateUnusable, ServerCertificate

HOST = "127.0.0.1"
BROKEN = ("not PEM", "another key", "absent")
REQUEST = b"GET /echo HTTP/1.1\r\nHost: portico\r\n\r\n"


class Files:
    """The files of the gateway's certificate."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "gateway.crt", folder / "gateway.key"

    def replace(self) -> Certificate:
        """Write a new certificate with its key, as a client of a certificate authority does."""
        made = Certificate()
        made.write(self.certificate, self.key)
        return made

    def spoil(self, broken: str) -> None:
        """Make the files unusable, in one of the ways of BROKEN."""
        match broken:
            case "not PEM":
                self.certificate.write_text("nothing")
            case "another key":
                Certificate().write(self.certificate.with_suffix(".new"), self.key)
            case _:
                self.key.unlink()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def get(self) -> bytes:
        self.writer.write(REQUEST)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await self.reader.readexactly(length)
        return head


@asynccontextmanager
async def connected(port: int, trusted: Certificate, name: str | None = HOST) -> AsyncIterator[Client]:
    """Connect with a client that trusts only this certificate."""
    context = trusted.for_client()
    context.check_hostname = name is not None
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=name or "")
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def serving(service: Service, certificate: ServerCertificate) -> AsyncIterator[tuple[Gateway, int]]:
    async with gateway_for_app("local", service, plane="fast") as gateway:
        kind = type("_Connection", (FastConnection,), {"plane": gateway.fast})
        served = ServedApp("gateway", gateway.proxy_app, bind(HOST, 0), connection=kind, certificate=certificate)
        async with Servers([served], grace=1):
            yield gateway, served.port


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def new_certificate(files: Files) -> tuple[list[bytes], list[str]]:
    """Replace the certificate while a connection is open. Return what its requests and the service saw."""
    service, first = Service(), files.replace()
    certificate = ServerCertificate(files.certificate, files.key)
    async with serving(service, certificate) as (gateway, port), connected(port, first) as open_before:
        before = [await open_before.get(), await open_before.get()]
        second = files.replace()
        certificate.refresh()
        async with connected(port, second) as opened_after:
            heads = [*before, await opened_after.get(), await open_before.get()]
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connected(port, first):
                pass
        assert gateway.fast is not None
        assert gateway.fast.forwarded == len(heads)
    return heads, [request.headers[b"x-forwarded-proto"].decode() for request in service.requests]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_new_connections_use_a_new_certificate_and_open_ones_stay(
    files: Files, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        heads, schemes = runner.run(new_certificate(files))

    assert [head.split(b" ")[1] for head in heads] == [b"200"] * 4
    assert schemes == ["https"] * 4


async def test_the_servers_notice_a_new_certificate(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.replace()
    certificate = ServerCertificate(files.certificate, files.key)
    looked = asyncio.Event()
    monkeypatch.setattr(certificate, "refresh", looked.set)
    async with serving(Service(), certificate):
        assert await wait_for_event(looked, 60)


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_certificate_that_cannot_be_used_is_logged_once_and_the_one_before_stays(
    files: Files, broken: str
) -> None:
    first = files.replace()
    certificate = ServerCertificate(files.certificate, files.key)
    files.spoil(broken)

    with structlog.testing.capture_logs() as logs:
        certificate.refresh()
        certificate.refresh()

    async with serving(Service(), certificate) as (_, port), connected(port, first) as client:
        assert (await client.get()).startswith(b"HTTP/1.1 200")
    assert [each["event"] for each in logs] == ["tls_certificate_rejected"]


async def test_a_client_that_names_no_server_is_served(files: Files) -> None:
    trusted = files.replace()
    certificate = ServerCertificate(files.certificate, files.key)
    async with serving(Service(), certificate) as (_, port), connected(port, trusted, name=None) as client:
        assert (await client.get()).startswith(b"HTTP/1.1 200")


async def test_plain_http_is_not_served_and_old_protocols_are_refused(files: Files) -> None:
    files.replace()
    certificate = ServerCertificate(files.certificate, files.key)
    async with serving(Service(), certificate) as (gateway, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(REQUEST)
        assert not (await reader.read()).startswith(b"HTTP/")
        writer.close()
        assert gateway.records == []
    assert certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("broken", BROKEN)
def test_a_port_does_not_start_with_a_certificate_that_cannot_be_used(files: Files, broken: str) -> None:
    files.replace()
    files.spoil(broken)

    with pytest.raises(CertificateUnusable, match=str(files.certificate)):
        ServerCertificate(files.certificate, files.key)
