from portico.systems.commerce import commerce


class TestCommerce:
    def test_stands_on_the_ports_of_its_page(self) -> None:
        ports = {each.name: each.port for each in commerce.placements}

        assert commerce.gateway == 8080
        assert ports == {"identity": 8001, "catalog": 8002, "orders": 8003, "payments": 8004, "notifications": 8005}

    def test_only_staff_write_products(self) -> None:
        assert commerce.default_role == "customer"
        assert not any(permission.endswith(":write") for permission in commerce.roles["customer"])
        assert "products:write" in commerce.roles["staff"]
