from pathlib import Path

from portico.demo.product_file import is_valid, read_products, write_products


class TestProductFile:
    def test_is_the_same_each_time(self, tmp_path: Path) -> None:
        write_products(tmp_path / "one.csv", 1000)
        write_products(tmp_path / "two.csv", 1000)

        assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()

    def test_has_one_invalid_row_in_five_hundred(self, tmp_path: Path) -> None:
        write_products(tmp_path / "products.csv", 1000)
        rows = read_products(tmp_path / "products.csv")

        assert [number for number, row in enumerate(rows) if not is_valid(row)] == [250, 750]

    def test_names_each_product_once(self, tmp_path: Path) -> None:
        write_products(tmp_path / "products.csv", 1000)

        assert len({row["sku"] for row in read_products(tmp_path / "products.csv")}) == 1000
