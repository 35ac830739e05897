from portico.services.identity.users.domain import Names


class TestNames:
    def test_are_joined_where_only_the_parts_are_given(self) -> None:
        assert Names(first_name="Ada", last_name="Lovelace").completed().name == "Ada Lovelace"
        assert Names(last_name="Lovelace").completed().name == "Lovelace"

    def test_are_kept_where_a_name_is_given(self) -> None:
        assert Names(name="Countess", first_name="Ada").completed().name == "Countess"

    def test_may_be_absent(self) -> None:
        assert Names().completed().name is None


class TestChangingNames:
    def test_lets_a_joined_name_follow(self) -> None:
        names = Names(first_name="Ada", last_name="Byron").completed()

        assert names.changed({"last_name": "Lovelace"}).name == "Ada Lovelace"

    def test_leaves_a_name_of_its_own(self) -> None:
        names = Names(name="Countess", first_name="Ada", last_name="Byron")

        assert names.changed({"last_name": "Lovelace"}).name == "Countess"

    def test_falls_back_to_the_parts_where_the_name_is_cleared(self) -> None:
        assert Names(name="Countess", first_name="Ada").changed({"name": None}).name == "Ada"

    def test_clears_what_is_null(self) -> None:
        assert Names(name="Ada", phone="123").changed({"phone": None}) == Names(name="Ada")
