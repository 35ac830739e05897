"""The file for NGINX, to be included in its `http` block."""

import hashlib

import orjson

from portico.gateway.export.options import (
    CONNECT_SECONDS,
    FAILED_SECONDS,
    FAILURES,
    IDLE,
    KEPT_CONNECTIONS,
    MARGIN_SECONDS,
    ExportOptions,
    Lines,
    Tls,
    apart,
    heading,
    seconds,
    slug,
)
from portico.gateway.export.public_routes import ANY_METHOD, Rule, Surface
from portico.gateway.export.route_classes import ForwardLimits, Shape
from portico.kit.foundation.problems import BadGateway, ContentTooLarge, GatewayTimeout, NotFound, Problem
from portico.kit.http.problems import MEDIA_TYPE, problem_document
from portico.kit.runtime.system import System

_LONGEST_NAME = 24
_STREAM_SECONDS = 3600  # between two messages; a WebSocket is pinged every 20 seconds, an event stream may be silent


def nginx(system: System, surface: Surface, front: ExportOptions) -> str:
    """What NGINX has to be told to stand in front of `system`."""
    return "\n".join(_File(system, surface, front).lines()) + "\n"


class _File:
    def __init__(self, system: System, surface: Surface, front: ExportOptions) -> None:
        self._system = system
        self._surface = surface
        self._front = front
        self._name = f"portico_{_short(slug(system.name))}"

    def lines(self) -> Lines:
        blocks = [
            [*heading(self._system.name, "nginx"), *_PLACE],
            self._upstream(),
            self._known(),
            self._kept_back(),
            self._upgrade(),
            *([] if self._front.tls is None else [self._redirect(self._front.tls)]),
            self._server(),
        ]
        return apart(blocks)

    def _upstream(self) -> Lines:
        servers = [
            f"server {each} max_fails={FAILURES} fail_timeout={FAILED_SECONDS}s;" for each in self._front.gateways
        ]
        idle = "# Less than the gateway keeps an idle connection: no request goes out on one that it is closing."
        kept = [f"keepalive {KEPT_CONNECTIONS};", idle, f"keepalive_timeout {IDLE}s;"]
        return _block(f"upstream {self._name}", [*servers, *kept])

    def _known(self) -> Lines:
        paths = [f'"~{_quoted(shape.pattern)}" 1;' for shape in self._surface.known]
        return _block(f"map $uri ${self._name}_known", ["default 0;", *paths])

    def _kept_back(self) -> Lines:
        comment = "# What is for services only, on paths that others use too. The first line that fits counts."
        lines = ["default 0;", *map(_rule, self._surface.rules)]
        return [comment, *_block(f'map "$request_method $uri" ${self._name}_kept_back', lines)]

    def _upgrade(self) -> Lines:
        return [
            *_block(f"map $http_upgrade ${self._name}_upgrade", ['default "";', "~*^websocket$ websocket;"]),
            *_block(f"map $http_upgrade ${self._name}_connection", ['default "";', "~*^websocket$ upgrade;"]),
        ]

    def _redirect(self, tls: Tls) -> Lines:
        port = self._front.listen.rpartition(":")[2]
        target = "https://$host" + ("" if port == "443" else f":{port}")
        lines = [f"listen {tls.redirect_from};", *self._names(), "server_tokens off;"]
        return _block("server", [*lines, f"return 308 {target}$request_uri;"])

    def _server(self) -> Lines:
        usual = self._surface.usual
        unusual = [(shape, self._surface.carriage(shape)) for shape in self._surface.unusual]
        return _block(
            "server",
            [
                *self._listening(),
                "server_tokens off;",
                "merge_slashes off;  # the gateway refuses a path with empty segments",
                "",
                *self._limited(usual.body_limit),
                "",
                *self._passing(usual),
                "",
                f"if (${self._name}_known = 0) {{ return 404; }}",
                f"if (${self._name}_kept_back) {{ return 404; }}",
                "",
                *_block("location /", [f"proxy_pass http://{self._name};"]),
                *(line for shape, carriage in unusual for line in ("", *self._location(shape, carriage))),
                *self._answers({usual.body_limit, *(carriage.body_limit for _, carriage in unusual)}),
            ],
        )

    def _listening(self) -> Lines:
        tls, listen = self._front.tls, self._front.listen
        if tls is None:
            return [f"listen {listen};", *self._names()]
        files = [f'ssl_certificate "{tls.certificate}";', f'ssl_certificate_key "{tls.key}";']
        return [f"listen {listen} ssl;", *self._names(), *files, "ssl_protocols TLSv1.2 TLSv1.3;"]

    def _names(self) -> Lines:
        return [f"server_name {' '.join(self._front.hosts)};"] if self._front.hosts else []

    def _passing(self, usual: ForwardLimits) -> Lines:
        return [
            "proxy_http_version 1.1;",
            'proxy_set_header Connection "";',
            *_FORWARDED,
            "proxy_redirect off;",
            f"proxy_connect_timeout {CONNECT_SECONDS}s;",
            *_reading(usual),
            "proxy_max_temp_file_size 0;  # a slow client slows the answer down, and fills no disk",
            "# Another instance is asked if one fails at once; again only for what may be repeated, so never a POST.",
            "proxy_next_upstream error timeout;",
            "proxy_next_upstream_tries 2;",
            f"proxy_next_upstream_timeout {FAILED_SECONDS}s;",
        ]

    def _location(self, shape: Shape, carriage: ForwardLimits) -> Lines:
        usual = self._surface.usual
        lines: Lines = []
        if carriage.body_limit != usual.body_limit:
            lines += self._limited(carriage.body_limit)
        if carriage.body_limit > usual.body_limit or carriage.streams:
            lines.append("proxy_request_buffering off;")
        if carriage.streams:
            lines += self._streaming()
        elif carriage.timeout != usual.timeout:
            lines += _reading(carriage)
        where = f"= {shape.template}" if shape.is_literal else f'~ "{_quoted(shape.pattern)}"'
        return _block(f"location {where}", [*lines, f"proxy_pass http://{self._name};"])

    def _streaming(self) -> Lines:
        return [
            "proxy_buffering off;",
            f"proxy_read_timeout {_STREAM_SECONDS}s;",
            f"proxy_send_timeout {_STREAM_SECONDS}s;",
            f"proxy_set_header Upgrade ${self._name}_upgrade;",
            f"proxy_set_header Connection ${self._name}_connection;",
            *_FORWARDED,  # a location that sets one of these inherits none
        ]

    def _limited(self, body_limit: int) -> Lines:
        """The limit, and with it all error pages: a location that has one of its own inherits none."""
        pages = {404: "404", 413: f"413_{body_limit}", 502: "502", 504: "504"}
        answers = [f"error_page {status} @{self._name}_{name};" for status, name in pages.items()]
        return [f"client_max_body_size {body_limit};", *answers]

    def _answers(self, body_limits: set[int]) -> Lines:
        """What NGINX itself answers, as the gateway would put it."""
        problems: dict[str, Problem] = {"404": NotFound()}
        problems |= {f"413_{limit}": ContentTooLarge(limit=limit) for limit in sorted(body_limits)}
        problems |= {"502": BadGateway(), "504": GatewayTimeout()}
        return [line for name, problem in problems.items() for line in ("", *self._answer(name, problem))]

    def _answer(self, name: str, problem: Problem) -> Lines:
        document = problem_document(problem, instance="", request_id="$request_id", case=self._system.case)
        body = orjson.dumps(document).decode().replace("'", "\\'")
        return _block(
            f"location @{self._name}_{name}",
            [
                f"default_type {MEDIA_TYPE};",
                "add_header Cache-Control no-store always;",
                "add_header X-Request-ID $request_id always;",
                f"return {problem.status} '{body}';",
            ],
        )


_PLACE = [
    "#",
    "# Include it in the http block: NGINX takes conf.d/*.conf, or sites-enabled/*, there as it comes. If there is another",
    "# proxy in front of this one, real_ip_header and set_real_ip_from tell NGINX who the client is.",
]
# What the client says of these is replaced, not added to.
_FORWARDED = [
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $remote_addr;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
    "proxy_set_header X-Forwarded-Host $http_host;",
    'proxy_set_header Forwarded "";',
]


def _short(name: str) -> str:
    """`name`, or what stands for a long one: NGINX refuses long variables (variables_hash_bucket_size)."""
    if len(name) <= _LONGEST_NAME:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:7]
    return f"{name[: _LONGEST_NAME - 8]}_{mark}"


def _reading(carriage: ForwardLimits) -> Lines:
    return [f"proxy_read_timeout {seconds(carriage.timeout) + MARGIN_SECONDS}s;"]


def _rule(rule: Rule) -> str:
    method = r"\S+" if rule.methods == ANY_METHOD else "|".join(sorted(rule.methods))
    grouped = f"(?:{method})" if "|" in method else method
    return f'"~^{grouped} {_quoted(rule.shape.pattern[1:])}" {int(rule.kept_back)};'


def _block(head: str, lines: Lines) -> Lines:
    return [f"{head} {{", *(f"    {line}" if line else "" for line in lines), "}"]


def _quoted(text: str) -> str:
    """`text` for double quotes, within which NGINX reads a backslash only before a quote or another one."""
    return text.replace('"', '\\"')
