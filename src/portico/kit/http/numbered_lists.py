"""Numbered pages for systems that use them: endpoints that take a `Page` take a `NumberedPage` there."""

import inspect
from dataclasses import replace
from functools import wraps
from typing import Any, get_args, get_origin

from portico.kit.http.paging import NumberedPage, Page, numbered_list
from portico.kit.http.router import Endpoint, Route


def with_numbered_pages(route: Route) -> Route:
    """Return `route` with numbered pages if it is a list: it takes a `Page`, and its response model is `list[Model]`.

    The list is named after the last literal part of the path: `payments` of `/payments`.
    """
    if get_origin(route.response_model) is not list or not _takes_page(route.endpoint):
        return route
    (item,) = get_args(route.response_model)
    literal = [part for part in route.path.split("/") if part and not part.startswith("{")]
    model = numbered_list(literal[-1].replace("-", "_"), item)
    return replace(route, endpoint=_taking_numbered_page(route.endpoint), response_model=model)


def _takes_page(endpoint: Endpoint) -> bool:
    return any(each.annotation == Page for each in inspect.signature(endpoint, eval_str=True).parameters.values())


def _taking_numbered_page(endpoint: Endpoint) -> Any:
    @wraps(endpoint)
    async def call(**values: Any) -> Any:
        return await endpoint(**values)

    signature = inspect.signature(endpoint, eval_str=True)
    parameters = [
        each.replace(annotation=NumberedPage) if each.annotation == Page else each
        for each in signature.parameters.values()
    ]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect.signature reads it
    return call
