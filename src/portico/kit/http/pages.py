"""Documentation pages on a service's own port."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.kit.http.docs import PATHS, doc_page


def page_routes(title: str) -> list[Route]:
    """Return the routes of `/docs`, `/redoc` and their files.

    Args:
        title: heading of the pages.
    """

    async def page(request: Request) -> Response:
        accepted = request.headers.get("accept-encoding", "")
        found = doc_page(request.url.path, title, accepts_gzip="gzip" in accepted)
        response = Response(found.body)
        response.raw_headers = [*found.headers, (b"content-length", str(len(found.body)).encode())]
        return response

    return [Route(path, page, methods=["GET"], include_in_schema=False) for path in PATHS]
