"""Documentation pages on a service's own port."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.kit.http.docs import PATHS, accepts_gzip, doc_page
from portico.kit.http.request import combined_field


def page_routes(title: str) -> list[Route]:
    """Return the routes of `/docs`, `/redoc` and their files.

    Args:
        title: heading of the pages.
    """

    async def page(request: Request) -> Response:
        accepted = combined_field(request.headers, "accept-encoding") or ""
        found = doc_page(request.url.path, title, compressed=accepts_gzip(accepted))
        response = Response(found.body)
        response.raw_headers = [*found.headers, (b"content-length", str(len(found.body)).encode())]
        return response

    return [Route(path, page, methods=["GET"], include_in_schema=False) for path in PATHS]
