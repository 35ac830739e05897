"""TLS of a port: a certificate and its key in two files, which may be replaced while the port is served."""

import ssl
from pathlib import Path
from typing import Final

from portico.kit.telemetry.logs import get_logger

logger = get_logger(__name__)

PROTOCOLS: Final = ["http/1.1"]  # ALPN (RFC 7301)


class CertificateUnusable(RuntimeError):
    """The certificate or its key cannot be read, or they do not belong together."""


class ServerCertificate:
    """The certificate of a port. Open connections keep the certificate with which they began.

    Args:
        certificate: file with the certificate and its chain (PEM).
        key: file with the private key (PEM, without a password).

    Raises:
        CertificateUnusable: the files cannot be used.

    Attributes:
        context: TLS context of the port. Each handshake uses the certificate that was loaded last.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._seen = self._versions()
        self._current = self._load()
        self.context = _new_context()
        self.context.sni_callback = self._choose
        # Without its own certificate, the context would offer no cipher.
        self.context.load_cert_chain(certificate, key)

    def refresh(self) -> None:
        """Load the files again if they have changed. If they cannot be used, the previous certificate stays in use."""
        versions = self._versions()
        if versions == self._seen:
            return
        self._seen = versions
        try:
            self._current = self._load()
        except CertificateUnusable as error:
            logger.error("tls_certificate_rejected", error=str(error), hint="the previous certificate stays in use")  # noqa: TRY400  the message is sufficient
        else:
            logger.info("tls_certificate_loaded", certificate=str(self._files[0]))

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = _new_context()
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except OSError as error:  # includes SSLError
            raise CertificateUnusable(
                f"The certificate {certificate} with the key {key} cannot be used: {_why(error)}."
            ) from error
        return context

    def _versions(self) -> list[tuple[int, int, int] | None]:
        return [_version(file) for file in self._files]


def _new_context() -> ssl.SSLContext:
    """Return a context for servers: TLS 1.2 or later, with the ciphers that Python selects."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    return context


def _no_password() -> str:
    """Reject a key with a password. Otherwise OpenSSL would ask for the password on the terminal."""
    return ""


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (
            "the key does not belong to it"
            if error.reason == "KEY_VALUES_MISMATCH"
            else "a file is not PEM, or the key has a password"
        )
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _version(file: Path) -> tuple[int, int, int] | None:
    """Return a value that changes when the file is replaced; None if the file is absent."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
