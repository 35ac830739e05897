import gzip
import re

import pytest

from portico.kit.http.docs import PATHS, accepts_gzip, doc_page


class TestPages:
    @pytest.mark.parametrize("page", ["/docs", "/redoc"])
    def test_every_file_that_a_page_loads_exists(self, page: str) -> None:
        html = doc_page(page, "shop").body.decode()
        loaded = re.findall(r'(?:src|href)="([^"]+)"', html)

        assert loaded
        assert set(loaded) <= set(PATHS)

    @pytest.mark.parametrize("page", ["/docs", "/redoc"])
    def test_the_policy_allows_only_its_own_scripts(self, page: str) -> None:
        found = doc_page(page, "shop")
        policy = dict(found.headers)[b"content-security-policy"]

        assert b"script-src 'self';" in policy
        assert b"http" not in policy
        assert not re.search(rb"<script(?! src=)", found.body)

    def test_the_title_is_escaped(self) -> None:
        assert b"&lt;b&gt;" in doc_page("/docs", "<b>").body

    @pytest.mark.parametrize(
        ("accepted", "gzip_is_allowed"),
        [
            ("gzip", True),
            ("br, GZIP;q=0.5", True),
            ("", False),
            ("br", False),
            ("gzip;q=0", False),
            ("gzip; q=0.00, br", False),
            ("x-gzip-like", False),
        ],
    )
    def test_gzip_is_used_if_the_client_allows_it(self, accepted: str, *, gzip_is_allowed: bool) -> None:
        assert accepts_gzip(accepted) == gzip_is_allowed

    @pytest.mark.parametrize("path", [path for path in PATHS if path.endswith((".js", ".css"))])
    def test_clients_without_gzip_get_uncompressed_files(self, path: str) -> None:
        packed, plain = (doc_page(path, "shop", compressed=accepts) for accepts in (True, False))

        if dict(packed.headers).get(b"content-encoding") == b"gzip":
            assert gzip.decompress(packed.body) == plain.body
        assert b"content-encoding" not in dict(plain.headers)
