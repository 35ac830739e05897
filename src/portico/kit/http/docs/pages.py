"""Swagger UI and ReDoc, served from this package under a strict content security policy."""

import gzip
import re
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import Final

Header = tuple[bytes, bytes]

# Both pages set inline styles. ReDoc searches in a worker created from a blob. Inline scripts are not allowed.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

SWAGGER: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="/docs/favicon.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

REDOC: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="/docs/favicon.png">
</head>
<body>
<redoc spec-url="/openapi.json"></redoc>
<script src="/redoc/redoc.js"></script>
</body>
</html>
"""

# The redirect address of OAuth clients that sign in from the page /docs.
OAUTH2_REDIRECT: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="/docs/favicon.png">
</head>
<body>
<script src="/docs/oauth2-redirect.js"></script>
</body>
</html>
"""

_REFUSED: Final = re.compile(r"q=0(\.0{0,3})?")

HTML: Final = {"/docs": SWAGGER, "/docs/oauth2-redirect": OAUTH2_REDIRECT, "/redoc": REDOC}
# Path, file, media type. Scripts and styles are stored compressed, and sent compressed to clients that accept gzip.
ASSETS: Final = {
    "/docs/swagger-ui.css": ("swagger-ui.css.gz", "text/css; charset=utf-8"),
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js.gz", "text/javascript; charset=utf-8"),
    "/docs/start.js": ("swagger-start.js", "text/javascript; charset=utf-8"),
    "/docs/oauth2-redirect.js": ("swagger-oauth2-redirect.js", "text/javascript; charset=utf-8"),
    "/docs/favicon.png": ("favicon.png", "image/png"),
    "/redoc/redoc.js": ("redoc.js.gz", "text/javascript; charset=utf-8"),
}
PATHS: Final = (*HTML, *ASSETS)
"""All paths of the pages."""


@dataclass(frozen=True, slots=True)
class DocPage:
    """A page or one of its files, to be sent with status 200."""

    headers: tuple[Header, ...]
    body: bytes


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether `Accept-Encoding` allows gzip (RFC 9110 section 12.5.3)."""
    for each in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in each.split(";"))
        if coding == "gzip":
            return not any(_REFUSED.fullmatch(parameter) for parameter in parameters)
    return False


@lru_cache(maxsize=32)
def doc_page(path: str, title: str, *, compressed: bool = True) -> DocPage:
    """Return the page or file at `path`, one of `PATHS`.

    Args:
        path: without a query.
        title: heading of the pages.
        compressed: whether files that are stored with gzip are returned compressed.
    """
    if path in HTML:
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", POLICY.encode())]
        return DocPage((*headers, (b"cache-control", b"no-cache")), HTML[path].format(title=escape(title)).encode())
    file, media_type = ASSETS[path]
    body = files("portico.kit.http.docs").joinpath("assets", file).read_bytes()
    headers = [(b"content-type", media_type.encode()), (b"cache-control", b"public, max-age=86400")]
    if file.endswith(".gz"):
        headers.append((b"vary", b"Accept-Encoding"))
        if compressed:
            headers.append((b"content-encoding", b"gzip"))
        else:
            body = gzip.decompress(body)
    return DocPage(tuple(headers), body)
