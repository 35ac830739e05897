import pytest

from portico.cli.scaffold.edits import EditRefused, Module


def module(text: str) -> Module:
    return Module(text, "shop")


class TestImports:
    def test_names_join_an_import_of_the_same_module(self) -> None:
        edited = module("from shop.contracts.items import ItemId, FIRST, read\n").with_import(
            "shop.contracts.items", "Brand", "ItemId"
        )

        assert edited.text == "from shop.contracts.items import FIRST, Brand, ItemId, read\n"

    def test_a_long_import_is_split(self) -> None:
        names = [f"AnEventWithALongName{number}" for number in range(6)]

        edited = module("from shop.contracts.items import ItemId\n").with_import("shop.contracts.items", *names)

        assert edited.text.splitlines()[0] == "from shop.contracts.items import ("
        assert edited.text.splitlines()[-2:] == ["    ItemId,", ")"]

    def test_a_new_import_is_sorted_into_its_section(self) -> None:
        text = "import re\n\nfrom portico.kit import System\n\nfrom shop.a import a\nfrom shop.c import c\n\nx = 1\n"

        edited = module(text).with_import("shop.b", "service as b").with_import("shop.d", "d")

        assert "from shop.a import a\nfrom shop.b import service as b\nfrom shop.c import c\nfrom shop.d" in edited.text

    def test_a_first_import_of_the_project_begins_a_section(self) -> None:
        edited = module("from portico.kit import System\n\nx = 1\n").with_import("shop.b", "b")

        assert edited.text == "from portico.kit import System\n\nfrom shop.b import b\n\nx = 1\n"


class TestElements:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("[]", "[new]"),
            ("[a]", "[a, new]"),
            ("[a, b,]", "[a, b, new]"),
            ("[\n    a,\n]", "[\n    a,\n    new,\n]"),
            ("[\n    a\n]", "[\n    a,\n    new,\n]"),
            ("[\n    a,  # the first\n]", "[\n    a,  # the first\n    new,\n]"),
            ("['ä', b]", "['ä', b, new]"),
        ],
    )
    def test_are_added_at_the_end_of_a_list(self, before: str, after: str) -> None:
        edited = module(f"x = Service(routers={before}, jobs=[])\n").with_element("x = Service", "routers", "new")

        assert edited.text == f"x = Service(routers={after}, jobs=[])\n"

    def test_are_added_to_a_value_of_a_dict(self) -> None:
        text = 'x = System(roles={"staff": ["a"], "other": []})\n'

        edited = module(text).with_element("x = System", "roles", '"b"', within="staff")

        assert edited.text == 'x = System(roles={"staff": ["a", "b"], "other": []})\n'

    def test_a_line_that_becomes_too_long_is_split(self) -> None:
        text = f'x = System(\n    roles={{"a": "{"a" * 103}"}},\n)\n'

        edited = module(text).with_element("x = System", "roles", '"b": []')

        assert edited.text == f'x = System(\n    roles={{\n        "a": "{"a" * 103}",\n        "b": [],\n    }},\n)\n'

    @pytest.mark.parametrize(
        "text", ["", "y = System(roles={})", "x = Other(roles={})", "x = System()", "x = System(roles=ROLES)", "x = 1"]
    )
    def test_are_refused_where_the_literal_is_missing(self, text: str) -> None:
        with pytest.raises(EditRefused, match="x = System"):
            module(text).with_element("x = System", "roles", "new")
