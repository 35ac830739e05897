"""Documentation pages of each service, with all their files. They load nothing from other hosts."""

from portico.kit.http.docs.pages import PATHS, DocPage, accepts_gzip, doc_page

__all__ = ["PATHS", "DocPage", "accepts_gzip", "doc_page"]
