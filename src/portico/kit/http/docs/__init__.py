"""The documentation pages that stand at every port, with all that they load: nothing comes from elsewhere."""

from portico.kit.http.docs.pages import PATHS, DocPage, doc_page

__all__ = ["PATHS", "DocPage", "doc_page"]
