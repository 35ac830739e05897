from portico.services.identity.users.domain import Names


class TestNames:
    def test_name_is_joined_from_first_and_last_name(self) -> None:
        assert Names(first_name="Ada", last_name="Lovelace").completed().name == "Ada Lovelace"
        assert Names(last_name="Lovelace").completed().name == "Lovelace"

    def test_given_name_is_kept(self) -> None:
        assert Names(name="Countess", first_name="Ada").completed().name == "Countess"

    def test_name_may_be_missing(self) -> None:
        assert Names().completed().name is None


class TestChangeNames:
    def test_joined_name_follows_its_parts(self) -> None:
        names = Names(first_name="Ada", last_name="Byron").completed()

        assert names.changed({"last_name": "Lovelace"}).name == "Ada Lovelace"

    def test_given_name_does_not_follow_the_parts(self) -> None:
        names = Names(name="Countess", first_name="Ada", last_name="Byron")

        assert names.changed({"last_name": "Lovelace"}).name == "Countess"

    def test_clearing_the_name_joins_the_parts(self) -> None:
        assert Names(name="Countess", first_name="Ada").changed({"name": None}).name == "Ada"

    def test_null_clears_a_field(self) -> None:
        assert Names(name="Ada", phone="123").changed({"phone": None}) == Names(name="Ada")
