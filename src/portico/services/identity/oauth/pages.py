"""HTML pages for signing in, consent and signing out: no scripts, no frames, nothing from other hosts."""

import base64
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fastapi.responses import HTMLResponse

from portico.services.identity.oauth.domain import form_target, scope_description
from portico.services.identity.oauth.models import OAuthClient

if TYPE_CHECKING:
    from jinja2 import Template

_PACKAGE: Final = "portico.services.identity.oauth"


class PageForms:
    """Renders the pages with forms.

    Args:
        action: the address that the forms are sent to, relative to the page.
        csrf: the value that proves that a form comes from the page.
        target: the address to which the client's user returns; the policy allows forms to lead there.
    """

    def __init__(self, *, action: str, csrf: str, target: str | None = None) -> None:
        self._action = action
        self._csrf = csrf
        self._target = target

    def sign_in(self, client: OAuthClient, *, email: str, error: str = "", status: int = 200) -> HTMLResponse:
        """Return the page with the sign-in form."""
        return self._page("sign_in", "Sign in", status, client=client.name, email=email, error=error)

    def consent(self, client: OAuthClient, *, user: str, scope: Iterable[str], other: str) -> HTMLResponse:
        """Return the page that asks the user to allow the client these scopes. `other` signs in another user."""
        parts = urlsplit(self._target or "")
        return self._page(
            "consent",
            f"Allow {client.name}?",
            client=client.name,
            user=user,
            scope=[scope_description(each) for each in scope],
            other=other,
            target=parts.netloc or f"the app {parts.scheme}",
        )

    def sign_out(self, *, user: str) -> HTMLResponse:
        """Return the page that asks whether to sign out."""
        return self._page("sign_out", "Sign out", user=user)

    def _page(self, page: str, title: str, status: int = 200, **values: Any) -> HTMLResponse:
        targets = ["'self'"] if self._target is None else ["'self'", form_target(self._target)]
        return _render(status, targets, page=page, title=title, action=self._action, csrf=self._csrf, **values)


def message_page(title: str, message: str, *, status: int = 200) -> HTMLResponse:
    """Return a page with a sentence."""
    return _render(status, ["'none'"], page="message", title=title, message=message)


def _render(status: int, form_targets: Iterable[str], **values: Any) -> HTMLResponse:
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action {' '.join(form_targets)}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "cache-control": "no-store", "x-frame-options": "DENY"}
    return HTMLResponse(_template().render(style=style, **{"error": "", **values}), status, headers)


@lru_cache(maxsize=1)
def _style() -> str:
    return files(_PACKAGE).joinpath("page.css").read_text("utf-8")


@lru_cache(maxsize=1)
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined  # only a process that shows a page loads it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(files(_PACKAGE).joinpath("page.html").read_text("utf-8"))
