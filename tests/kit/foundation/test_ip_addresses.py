import pytest

from portico.kit.foundation.ip_addresses import address_key


class TestAddressKey:
    @pytest.mark.parametrize("address", ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:0DB8:0001:0002::"])
    def test_of_ipv6_is_its_network(self, address: str) -> None:
        assert address_key(address) == "2001:db8:1:2::/64"

    @pytest.mark.parametrize("address", ["198.51.100.1", "::ffff:198.51.100.1"])
    def test_of_ipv4_is_the_address(self, address: str) -> None:
        assert address_key(address) == "198.51.100.1"

    @pytest.mark.parametrize("text", ["unknown", "fe80::1%eth0", ""])
    def test_of_other_text_is_the_text(self, text: str) -> None:
        assert address_key(text) == text
