from pathlib import Path

import pytest
from tests.cli.in_process import run_here

from portico.cli.export import export, export_direct, monitoring_files, read_tls
from portico.gateway.export import Tls
from portico.kit.foundation.errors import CommandError
from portico.systems.catalog import catalog
from portico.systems.commerce import commerce
from portico.testing.commands import run_portico


class TestExport:
    def test_prints_the_current_system(self, tmp_path: Path) -> None:
        variables = {"PORTICO_SYSTEM": "catalog", "BODY_LIMIT": "3MiB", "REQUEST_TIMEOUT": "7"}

        printed = run_portico(tmp_path, "export", "nginx", variables=variables)

        assert printed.returncode == 0, printed.stderr
        assert "server 127.0.0.1:8000 " in printed.stdout
        assert "client_max_body_size 3145728;" in printed.stdout
        assert "proxy_read_timeout 12s;" in printed.stdout
        assert list(tmp_path.iterdir()) == []

    def test_writes_a_teams_own_system_to_a_new_folder(self, tmp_path: Path) -> None:
        options = ["--gateway", "10.0.0.5:8080", "--gateway", "[::1]:8081", "--host", "library.example"]

        written = run_here(tmp_path, "export", "traefik", "tests.cli.systems:library", *options, "--out", "a/b")

        assert (written.returncode, written.stdout) == (0, "Wrote a/b/library.yaml\n"), written.stderr
        text = (tmp_path / "a/b/library.yaml").read_text()
        assert all(part in text for part in ("http://10.0.0.5:8080", "http://[::1]:8081", "/patience/slow"))
        assert "Host(`library.example`)" in text

    def test_an_unknown_system_is_rejected(self, tmp_path: Path) -> None:
        refused = run_here(tmp_path, "export", "nginx", "comerce")

        assert (refused.returncode, refused.stdout) == (2, "")
        assert "Did you mean commerce?" in refused.stderr

    def test_an_unknown_proxy_is_rejected(self, tmp_path: Path) -> None:
        assert run_here(tmp_path, "export", "kubernetes").returncode == 2


class TestUnwritableFolder:
    def test_is_reported_with_advice(self, tmp_path: Path) -> None:
        (tmp_path / "taken").touch()

        with pytest.raises(CommandError, match="cannot be written") as error:
            export("nginx", "catalog", None, None, folder=str(tmp_path / "taken"))

        assert "--out" in (error.value.advice or "")


class TestOptions:
    @pytest.mark.parametrize(
        "gateway", ["gateway", "http://gateway:8080", "gateway:0", "gateway:99999", "a b:80", ":80"]
    )
    def test_a_gateway_is_a_host_and_a_port(self, gateway: str) -> None:
        with pytest.raises(CommandError, match="not a host and a port"):
            export("nginx", "catalog", [gateway], None, folder=None)

    @pytest.mark.parametrize("host", ["shop.example:80", "https://shop.example", "shop.example; }", "sh`op"])
    def test_a_host_is_a_name(self, host: str) -> None:
        with pytest.raises(CommandError, match="not a host name"):
            export("traefik", "catalog", None, [host], folder=None)

    @pytest.mark.parametrize("listen", ["http", "127.0.0.1", "80; }", "0"])
    def test_nginx_listens_on_a_port(self, listen: str) -> None:
        with pytest.raises(CommandError, match="cannot listen"):
            export("nginx", "catalog", None, None, listen=listen, folder=None)

    def test_tls_changes_the_default_port(self, capsys: pytest.CaptureFixture[str]) -> None:
        export("nginx", "catalog", None, None, tls=Tls("shop.crt", "shop.key"), folder=None)

        printed = capsys.readouterr().out
        assert "    listen 443 ssl;\n" in printed
        assert "    listen 80;\n" in printed
        assert "return 308 https://$host$request_uri;" in printed


class TestReadTls:
    def test_both_files_or_none(self) -> None:
        assert read_tls(None, None) is None
        assert read_tls("shop.crt", "shop.key") == Tls("shop.crt", "shop.key")
        for one in (("shop.crt", None), (None, "shop.key")):
            with pytest.raises(CommandError, match="a certificate and its key"):
                read_tls(*one)

    def test_a_file_name_that_would_end_the_directive_is_rejected(self) -> None:
        with pytest.raises(CommandError, match="cannot be used in an NGINX"):
            read_tls('shop.crt"; }', "shop.key")


class TestMonitoring:
    def test_prometheus_scrapes_every_part_at_its_address(self, tmp_path: Path) -> None:
        options = ["--target", "orders=10.0.0.5:8003", "--target", "orders=10.0.0.6:8003", "--out", "a"]

        written = run_here(tmp_path, "export", "prometheus", "commerce", *options)

        assert written.returncode == 0, written.stderr
        assert written.stdout == "Wrote a/commerce.prometheus.yaml\nWrote a/commerce.rules.yaml\n"
        text = (tmp_path / "a/commerce.prometheus.yaml").read_text()
        assert "targets: ['10.0.0.5:8003', '10.0.0.6:8003']" in text
        assert "targets: ['127.0.0.1:8004']" in text
        assert "rule_files: [commerce.rules.yaml]" in text

    @pytest.mark.parametrize("target", ["order=10.0.0.5:1", "orders", "orders=10.0.0.5", "orders=x y:1"])
    def test_a_target_is_a_part_and_its_address(self, target: str) -> None:
        with pytest.raises(CommandError, match="not a part and its address"):
            monitoring_files(commerce, [target])

    def test_a_system_without_sagas_has_no_alert_and_no_panel_for_them(self) -> None:
        assert "saga" in "".join(monitoring_files(commerce).values())
        assert "saga" not in "".join(monitoring_files(catalog).values())


class TestDirect:
    def test_services_have_their_own_addresses(self, tmp_path: Path) -> None:
        options = ["--direct", "--target", "orders=10.0.0.7:81", "--target", "orders=10.0.0.8:81"]

        printed = run_here(tmp_path, "export", "nginx", "commerce", *options, variables={"RATE_LIMIT": "7/minute"})

        assert printed.returncode == 0, printed.stderr
        assert "server 10.0.0.7:81 max_fails" in printed.stdout
        assert "server 10.0.0.8:81 max_fails" in printed.stdout
        assert "server 127.0.0.1:8001 max_fails" in printed.stdout
        assert "rate=7r/m;" in printed.stdout

    @pytest.mark.parametrize("target", ["gateway=127.0.0.1:80", "ordres=127.0.0.1:80", "orders=127.0.0.1"])
    def test_a_target_is_a_service_and_its_address(self, target: str) -> None:
        with pytest.raises(CommandError, match="not a part and its address"):
            export_direct("commerce", [target], None, folder=None)

    @pytest.mark.parametrize(
        "options", [["--direct", "--gateway", "127.0.0.1:80"], ["--target", "orders=127.0.0.1:80"]]
    )
    def test_gateways_and_services_are_not_mixed(self, tmp_path: Path, options: list[str]) -> None:
        refused = run_here(tmp_path, "export", "nginx", "commerce", *options)

        assert (refused.returncode, refused.stdout) == (2, "")
        assert "--direct" in refused.stderr
