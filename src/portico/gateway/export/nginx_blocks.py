"""What both configurations for NGINX have in common: blocks, listening, and problem documents of NGINX itself."""

import hashlib
from collections.abc import Mapping

import orjson

from portico.gateway.export.options import MARGIN_SECONDS, ExportOptions, Lines, Tls, seconds
from portico.gateway.export.route_classes import ForwardLimits
from portico.kit.foundation.problems import Problem
from portico.kit.http.problems import MEDIA_TYPE, problem_document
from portico.kit.http.schema import Case

STREAM_SECONDS = 3600  # between two messages: WebSockets are pinged every 20 seconds, but an event stream may be silent
# These replace the client's values.
FORWARDED = (
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $remote_addr;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
    "proxy_set_header X-Forwarded-Host $http_host;",
    'proxy_set_header Forwarded "";',
)
_LONGEST_NAME = 24


def block(head: str, lines: Lines) -> Lines:
    """Return a block with these directives."""
    return [f"{head} {{", *(f"    {line}" if line else "" for line in lines), "}"]


def quoted(text: str) -> str:
    """Return `text` for a double-quoted string, in which NGINX needs only quotes to be escaped."""
    return text.replace('"', '\\"')


def short(name: str) -> str:
    """Return `name`, shortened with a hash if it is long: NGINX limits variable names (variables_hash_bucket_size)."""
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:7]
    return f"{name[: _LONGEST_NAME - 8]}_{digest}"


def listening(options: ExportOptions) -> Lines:
    """Return where a server listens, and its names and certificate."""
    tls, listen = options.tls, options.listen
    if tls is None:
        return [f"listen {listen};", *_names(options)]
    files = [f'ssl_certificate "{tls.certificate}";', f'ssl_certificate_key "{tls.key}";']
    return [f"listen {listen} ssl;", *_names(options), *files, "ssl_protocols TLSv1.2 TLSv1.3;"]


def redirect(options: ExportOptions, tls: Tls) -> Lines:
    """Return a server that redirects plain HTTP to HTTPS."""
    port = options.listen.rpartition(":")[2]
    target = "https://$host" + ("" if port == "443" else f":{port}")
    lines = [f"listen {tls.redirect_from};", *_names(options), "server_tokens off;"]
    return block("server", [*lines, f"return 308 {target}$request_uri;"])


def _names(options: ExportOptions) -> Lines:
    return [f"server_name {' '.join(options.hosts)};"] if options.hosts else []


def read_timeout(limits: ForwardLimits) -> Lines:
    """Return the time-out of a response, which is longer than Portico's own."""
    return [f"proxy_read_timeout {seconds(limits.timeout) + MARGIN_SECONDS}s;"]


def where(template: str, pattern: str) -> str:
    """Return the location of a path template."""
    return f"location = {template}" if "{" not in template else f'location ~ "{quoted(pattern)}"'


def error_page(
    name: str,
    problem: Problem,
    case: Case,
    *,
    request_id: str = "$request_id",
    added: Lines | None = None,
    variables: Mapping[str, str] | None = None,
) -> Lines:
    """Return a named location that responds with a problem document of the gateway.

    Args:
        name: Name of the location.
        problem: The problem.
        case: Case of the member names.
        request_id: Variable with the id of the request.
        added: Directives to add.
        variables: Text of the document to replace by a variable.
    """
    document = problem_document(problem, instance="", request_id=request_id, case=case)
    body = orjson.dumps(document).decode().replace("'", "\\'")
    for text, variable in (variables or {}).items():
        body = body.replace(text, variable)
    return block(
        f"location @{name}",
        [
            f"default_type {MEDIA_TYPE};",
            "add_header Cache-Control no-store always;",
            f"add_header X-Request-ID {request_id} always;",
            *(added or []),
            f"return {problem.status} '{body}';",
        ],
    )
