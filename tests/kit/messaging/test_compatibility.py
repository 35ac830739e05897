"""Compatible and breaking changes of event schemas."""

import itertools
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from portico.kit.foundation.ids import Identifier
from portico.kit.messaging.compatibility import breaking_changes
from portico.kit.messaging.event import Event
from portico.kit.messaging.schemas import schema_of


class TableId(Identifier, prefix="table"):
    pass


class Cup(BaseModel):
    size: int


class MarkedCup(BaseModel):
    size: int
    mark: str | None = None


class NamedCup(BaseModel):
    size: int
    name: str


class StrictCup(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


class StrictMarkedCup(StrictCup):
    mark: str | None = None


class Saucer(BaseModel):
    width: int


class Branch(BaseModel):
    twigs: "list[Branch]" = []


class LeafyBranch(BaseModel):
    twigs: "list[LeafyBranch]" = []
    leaves: int


def event(**fields: Any) -> type[Event]:
    """Return an event class with these fields: a type, or a type and its default."""
    declared = {name: given if isinstance(given, tuple) else (given, ...) for name, given in fields.items()}
    return create_model(
        "TeaServed",
        __base__=Event,
        __cls_kwargs__={"type": "tea.served", "version": 1, "aggregate": "table"},
        table=(str, ...),
        **declared,
    )


def changes(old: type[Event], new: type[Event]) -> list[str]:
    return breaking_changes(schema_of(old), schema_of(new))


def one_called_cup(model: type[BaseModel]) -> type[BaseModel]:
    """Return `model` renamed to its old name, because a class keeps its name when it grows."""
    return type("Cup", (model,), {"__module__": __name__})


GROWTH = [
    ("nothing", {"cups": int}, {"cups": int}),
    ("a field with a default", {}, {"cups": (int, 1)}),
    ("a field that may be null", {}, {"cups": (int | None, None)}),
    ("a default", {"cups": int}, {"cups": (int, 1)}),
    ("another default", {"cups": (int, 1)}, {"cups": (int, 2)}),
    ("the order of a union", {"cups": int | None}, {"cups": None | int}),
    ("the order of an enumeration", {"kind": Literal["a", "b"]}, {"kind": Literal["b", "a"]}),
    ("a description", {"cups": int}, {"cups": Annotated[int, Field(description="How many")]}),
    ("a field of an item", {"cups": list[Cup]}, {"cups": list[one_called_cup(MarkedCup)]}),
    ("a field of a member of a union", {"cup": Cup | None}, {"cup": one_called_cup(MarkedCup) | None}),
    ("what refers to itself", {"tree": Branch}, {"tree": Branch}),
]

BREAKS = [
    ("a field is gone", {"cups": int}, {}, "cups is removed"),
    ("a field with a default is gone", {"cups": (int, 1)}, {}, "cups is removed"),
    ("a field without a default", {}, {"cups": int}, "cups is added without a default"),
    ("a default is gone", {"cups": (int, 1)}, {"cups": int}, "cups has lost its default"),
    ("another type", {"cups": int}, {"cups": str}, "cups: type was"),
    ("a wider type", {"cups": int}, {"cups": float}, "cups: type was"),
    ("a text becomes a number", {"price": str}, {"price": Decimal}, "price also accepts"),
    ("null", {"cups": int}, {"cups": int | None}, 'cups also accepts {"type": "null"}, but existing readers'),
    ("no null any more", {"cups": int | None}, {"cups": int}, "cups no longer accepts"),
    ("a value more", {"kind": Literal["a"]}, {"kind": Literal["a", "b"]}, 'kind can also be "b"'),
    ("a value less", {"kind": Literal["a", "b"]}, {"kind": Literal["a"]}, 'kind can no longer be "b"'),
    ("only some values", {"kind": str}, {"kind": Literal["a", "b"]}, 'kind is limited to "a", "b"'),
    ("any value", {"kind": Literal["a", "b"]}, {"kind": str}, "kind is no longer limited"),
    ("a bound", {"cups": int}, {"cups": Annotated[int, Field(ge=1)]}, "cups: minimum 1 is added, but stored events"),
    (
        "no bound",
        {"cups": Annotated[int, Field(ge=1)]},
        {"cups": int},
        "cups: minimum 1 is removed, but existing readers",
    ),
    (
        "another bound",
        {"cups": Annotated[int, Field(ge=1)]},
        {"cups": Annotated[int, Field(ge=2)]},
        "cups: minimum was 1 and is now 2",
    ),
    ("an identifier", {"at": str}, {"at": TableId}, "at: pattern"),
    ("another type of items", {"cups": list[int]}, {"cups": list[str]}, "cups[]: type was"),
    ("another type of values", {"cups": dict[str, int]}, {"cups": dict[str, str]}, "cups.*: type was"),
    ("a field of an item", {"cups": list[Cup]}, {"cups": list[one_called_cup(NamedCup)]}, "cups[].name is added"),
    ("a field of an optional", {"cup": Cup | None}, {"cup": one_called_cup(NamedCup) | None}, "cup.name is added"),
    ("another member", {"cup": Cup | None}, {"cup": Saucer | None}, "cup no longer accepts"),
    (
        "a field where none may be",
        {"cup": StrictCup},
        {"cup": StrictMarkedCup},
        "cup.mark is added, but existing readers",
    ),
    ("a field of what refers to itself", {"tree": Branch}, {"tree": LeafyBranch}, "tree.leaves is added"),
    ("anything becomes a number", {"cups": Any}, {"cups": int}, "cups: type"),
]


class TestBreakingChanges:
    @pytest.mark.parametrize(("old", "new"), [case[1:] for case in GROWTH], ids=[case[0] for case in GROWTH])
    def test_growth_is_compatible(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        assert changes(event(**old), event(**new)) == []

    @pytest.mark.parametrize(("old", "new", "message"), [case[1:] for case in BREAKS], ids=[case[0] for case in BREAKS])
    def test_a_breaking_change_is_reported(self, old: dict[str, Any], new: dict[str, Any], message: str) -> None:
        assert [change for change in changes(event(**old), event(**new)) if message in change]

    def test_the_aggregate_field_must_not_change(self) -> None:
        class Before(Event, type="tea.served", version=1, aggregate="table"):
            table: str
            guest: str

        class After(Event, type="tea.served", version=1, aggregate="guest"):
            table: str
            guest: str

        assert len(changes(Before, After)) == 1


TYPES: list[Any] = [
    int,
    float,
    str,
    bool,
    int | None,
    (int | None, None),
    (int, 5),
    Literal["a"],
    Literal["a", "b"],
    Literal["b", "c"],
    Annotated[int, Field(ge=1)],
    Annotated[int, Field(ge=3, le=9)],
    Annotated[str, Field(max_length=2)],
    list[int],
    (list[str], []),
    dict[str, int],
    list[Cup],
    list[one_called_cup(MarkedCup)],
    list[one_called_cup(NamedCup)],
    StrictCup,
    Decimal,
]
VALUES: list[Any] = [0, 1, 5, 1.5, "a", "b", "c", "long", True, None, [], [1], ["x"], {}, {"k": 1}, {"size": 1}]
VALUES += [[{"size": 1}], [{"size": 1, "name": "n"}], [{"size": 1, "mark": "m"}]]

fields = st.dictionaries(st.sampled_from(["one", "two"]), st.sampled_from(TYPES), max_size=2)


def read(kind: type[Event], data: Any) -> Event | None:
    try:
        return kind.model_validate(data)
    except ValidationError:
        return None


def taken(field: FieldInfo) -> list[Any]:
    """Return those of VALUES that a field accepts."""
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])
    return [value for value in VALUES if _is_taken(adapter, value)]


def _is_taken(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def written(kind: type[Event], data: st.DataObject) -> Any:
    """Return a serialized event of `kind`."""
    values = {name: data.draw(st.sampled_from(taken(field))) for name, field in kind.model_fields.items()}
    return kind(**{**values, "table": "7"}).model_dump(mode="json")


class TestBothSides:
    """If no breaking change is reported, old and new code read each other's events."""

    def test_any_field_type_may_change_only_to_a_compatible_one(self) -> None:
        kinds = [event(one=each) for each in TYPES]
        all_written = [
            [kind(table="7", one=value).model_dump(mode="json") for value in taken(kind.model_fields["one"])]
            for kind in kinds
        ]
        silent = [
            (old, new)
            for (old, before), (new, after) in itertools.product(zip(TYPES, kinds, strict=True), repeat=2)
            if not changes(before, after)
            for reader, message in (
                (after, all_written[kinds.index(before)]),
                (before, all_written[kinds.index(after)]),
            )
            if any(read(reader, each) is None for each in message)
        ]

        assert silent == []

    @settings(deadline=None)
    @given(fields)
    def test_an_unchanged_event_is_compatible(self, same: dict[str, Any]) -> None:
        assert changes(event(**same), event(**same)) == []

    @settings(deadline=None)  # classes are made for each example
    @given(fields, fields, st.data())
    def test_old_and_new_code_read_each_others_events(self, old: Any, new: Any, data: st.DataObject) -> None:
        before, after = event(**old), event(**new)

        if not changes(before, after):
            assert read(after, written(before, data)) is not None
            assert read(before, written(after, data)) is not None

    @settings(deadline=None)  # classes are made for each example
    @given(fields, fields, st.data())
    def test_old_and_new_code_read_events_that_gained_fields_with_defaults(
        self, old: Any, more: Any, data: st.DataObject
    ) -> None:
        grown = {f"more_{name}": each for name, each in more.items() if isinstance(each, tuple)}
        before, after = event(**old), event(**old, **grown)

        assert changes(before, after) == []
        assert read(after, written(before, data)) is not None
        assert read(before, written(after, data)) is not None
