"""Common parts of both NGINX configurations: listening, forwarding, and problem documents of NGINX itself."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import orjson

from portico.gateway.export.options import (
    CONNECT_SECONDS,
    FAILED_SECONDS,
    FAILURES,
    IDLE_TIMEOUT,
    KEEPALIVE_CONNECTIONS,
    MARGIN_SECONDS,
    ExportOptions,
    Lines,
    Tls,
    seconds,
)
from portico.gateway.export.route_classes import ForwardLimits, RouteClass
from portico.kit.foundation.problems import Problem
from portico.kit.http.problems import MEDIA_TYPE, problem_document
from portico.kit.http.schema import Case

# between two messages: WebSockets are pinged every 20 seconds, but an event stream may be silent
_STREAM_SECONDS = 3600
# These replace the client's values.
FORWARDED = (
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $remote_addr;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
    "proxy_set_header X-Forwarded-Host $http_host;",
    'proxy_set_header Forwarded "";',
)
_MAX_NAME_LENGTH = 24


def block(head: str, lines: Lines) -> Lines:
    """Return a block with these directives."""
    return [f"{head} {{", *(f"    {line}" if line else "" for line in lines), "}"]


def quote(text: str) -> str:
    """Return `text` for a double-quoted string. NGINX requires only quotes to be escaped."""
    return text.replace('"', '\\"')


def short(name: str) -> str:
    """Return `name`, shortened with a hash if it is long: NGINX limits variable names (variables_hash_bucket_size)."""
    if len(name) <= _MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:7]
    return f"{name[: _MAX_NAME_LENGTH - 8]}_{digest}"


def listen_directives(options: ExportOptions) -> Lines:
    """Return the directives for the ports, names and certificate of a server."""
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


def upstream(name: str, addresses: Sequence[str]) -> Lines:
    """Return a group of instances, each `host:port`."""
    servers = [f"server {each} max_fails={FAILURES} fail_timeout={FAILED_SECONDS}s;" for each in addresses]
    comment = "# Shorter than Portico's own idle time-out, so that no request is sent on a closing connection."
    keepalive = [f"keepalive {KEEPALIVE_CONNECTIONS};", comment, f"keepalive_timeout {IDLE_TIMEOUT}s;"]
    return block(f"upstream {name}", [*servers, *keepalive])


def forward_directives(limits: ForwardLimits) -> Lines:
    """Return the default directives for forwarding and retrying requests."""
    return [
        "proxy_http_version 1.1;",
        "proxy_redirect off;",
        f"proxy_connect_timeout {CONNECT_SECONDS}s;",
        *_read_timeout(limits),
        "proxy_max_temp_file_size 0;  # no temporary files: a slow client slows down its own response",
        "# Try another instance if one fails immediately. Requests that are not idempotent (POST) are not retried.",
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream_tries 2;",
        f"proxy_next_upstream_timeout {FAILED_SECONDS}s;",
    ]


def location(
    route_class: RouteClass,
    limits: ForwardLimits,
    default: ForwardLimits,
    *,
    target: str,
    limit_body: Callable[[int], Lines],
    stream: Sequence[str] = (),
) -> Lines:
    """Return the location of routes whose limits differ from the default.

    Args:
        route_class: The routes.
        limits: Their limits.
        default: The limits of all other routes.
        target: Where requests are forwarded.
        limit_body: Returns the directives for a limit of the body in bytes.
        stream: Directives to add if the routes stream.
    """
    lines: Lines = []
    if limits.body_limit != default.body_limit:
        lines += limit_body(limits.body_limit)
    if limits.body_limit > default.body_limit or limits.streams:
        lines.append("proxy_request_buffering off;")
    if limits.streams:
        timeouts = [f"proxy_{each}_timeout {_STREAM_SECONDS}s;" for each in ("read", "send")]
        lines += ["proxy_buffering off;", *timeouts, *stream]
    elif limits.timeout != default.timeout:
        lines += _read_timeout(limits)
    return block(_where(route_class), [*lines, f"proxy_pass http://{target};"])


def _read_timeout(limits: ForwardLimits) -> Lines:
    """Return the time-out of a response, which is longer than Portico's own."""
    return [f"proxy_read_timeout {seconds(limits.timeout) + MARGIN_SECONDS}s;"]


def _where(route_class: RouteClass) -> str:
    if "{" not in route_class.template:
        return f"location = {route_class.template}"
    return f'location ~ "{quote(route_class.pattern)}"'


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
