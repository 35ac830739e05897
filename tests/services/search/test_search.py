from collections.abc import AsyncIterator

import pytest
from tests.services.search.support import SearchService, open_search

from portico.services.search.index.base import ShowIndex
from portico.services.search.rebuilder import Rebuilder
from portico.services.search.repository import lock_state
from portico.testing.databases import Databases


@pytest.fixture
async def search(sqlite_databases: Databases) -> AsyncIterator[SearchService]:
    async with open_search(sqlite_databases) as search:
        yield search


class TestSearch:
    async def test_a_result_has_the_show_its_highlights_and_its_score(self, search: SearchService) -> None:
        show = await search.show("Queen & <Friends>", category=None)

        found = await search.search("quene")

        assert found["events"] == [
            {
                "event_id": show,
                "event_name": "Queen & <Friends>",
                "event_date": "2027-03-01T19:00:00Z",
                "venue_name": "Wembley Arena",
                "status": "ON_SALE",
                "price": 49.5,
                "currency": "USD",
                "category": None,
                "highlights": {"event_name": "<em>Queen</em> &amp; &lt;Friends&gt;"},
                "score": 0.5,
            }
        ]
        assert found["page"] == {"number": 0, "size": 20, "total_elements": 1, "total_pages": 1}
        assert found["relaxed"] is False

    async def test_an_explanation_names_the_word_that_was_found(self, search: SearchService) -> None:
        await search.show("Queen", venue_name="Berlin Arena")

        [found] = (await search.search("quene arena paris", explain="true"))["events"]

        assert found["explanation"] == {
            "tier": 7,
            "status_rank": 0,
            "terms": [
                {"term": "quene", "field": "event_name", "word": "queen", "match": "typo", "typos": 1},
                {"term": "arena", "field": "venue_name", "word": "arena", "match": "exact", "typos": 0},
                {"term": "paris", "field": None, "word": None, "match": None, "typos": 0},
            ],
        }

    async def test_a_query_without_words_finds_every_show_and_one_of_signs_none(self, search: SearchService) -> None:
        await search.show()

        assert [len(await search.ids(each)) for each in (None, "", " ", "%")] == [1, 1, 1, 0]

    @pytest.mark.parametrize(
        "query",
        [
            *(
                "q=" + "a" * 201,
                "size=0",
                "size=101",
                "page=-1",
                "status=OPEN",
                "max_price=-1",
                "max_price=x",
                "colour=red",
            ),
            *(
                "date_from=2027-03-01T10:00:00",
                "date_from=tomorrow",
                "date_from=86400",
                "cursor=x",
                "cursor=WzEsMl0",
                "venue=" + "a" * 201,
            ),
        ],
    )
    async def test_invalid_parameters_are_rejected(self, search: SearchService, query: str) -> None:
        assert (await search.run.anonymous.get(f"/search?{query}")).status_code == 422

    async def test_links_visit_every_show_once_and_end_with_a_full_page(self, search: SearchService) -> None:
        shows = [await search.show(event_date=f"2027-03-{day:02}T19:00:00Z") for day in range(1, 5)]
        path, seen = "/search?size=2", []
        while path:
            answer = await search.run.anonymous.get(path)
            seen.append([each["event_id"] for each in answer.json()["events"]])
            links = dict(reversed(link.split("; ")) for link in answer.headers["link"].split(", "))
            path = links.get('rel="next"', "").strip("<>")

        assert seen == [shows[:2], shows[2:]]

    async def test_nul_is_rejected(self, search: SearchService) -> None:
        assert (await search.run.anonymous.get("/search?q=%00")).status_code in {400, 422}


class TestRebuild:
    async def test_needs_the_permission(self, search: SearchService) -> None:
        assert (await search.run.anonymous.post("/search/rebuild")).status_code == 401
        refused = await search.run.as_user().post("/search/rebuild")
        assert (refused.status_code, refused.json()["permission"]) == (403, "search:write")
        staff = search.run.as_user("search:write")
        assert (await staff.get("/search/rebuild/rebuild_0123")).status_code == 404

    async def test_a_second_request_returns_the_open_rebuild(self, search: SearchService) -> None:
        staff = search.run.as_user("search:write")

        one, two = [(await staff.post("/search/rebuild")).json() for _ in range(2)]

        assert (one["status"], two["rebuild_id"]) == ("PENDING", one["rebuild_id"])

    async def test_changes_during_a_rebuild_are_in_the_new_index(self, search: SearchService) -> None:
        shows = [await search.show() for _ in range(3)]
        rebuilder = search.run.context.resource(Rebuilder)
        await search.run.as_user("search:write").post("/search/rebuild")
        rebuild_id = await search.run.context.transact(rebuilder._claim)
        assert rebuild_id is not None

        await search.change(shows[0], event_name="King")
        await search.delete(shows[1])
        assert await rebuilder.run_due() is None  # the lease is not over
        assert len(await search.ids("queen")) == 1
        await search.run.context.transact(lambda work: rebuilder._copy(work, rebuild_id))
        await search.change(shows[2], event_name="Prince")
        new = await search.show("Queen new")

        assert await search.run.context.transact(lambda work: rebuilder._finish(work, rebuild_id)) == "COMPLETED"
        assert (await search.ids("queen"), await search.ids("king"), await search.ids("prince")) == (
            [new],
            [shows[0]],
            [shows[2]],
        )

    async def test_another_process_takes_over_after_the_lease(self, search: SearchService) -> None:
        show = await search.show()
        await search.run.as_user("search:write").post("/search/rebuild")
        dead = Rebuilder(search.run.context, search.run.context.resource(ShowIndex))  # type: ignore[type-abstract]
        rebuild_id = await search.run.context.transact(dead._claim)
        search.run.clock.advance(61)

        assert await search.run.context.resource(Rebuilder).run_due() == rebuild_id
        assert await search.ids("queen") == [show]

    async def test_an_index_that_differs_is_not_swapped_in(self, search: SearchService) -> None:
        show = await search.show()
        rebuilder = search.run.context.resource(Rebuilder)
        await search.run.as_user("search:write").post("/search/rebuild")
        rebuild_id = await search.run.context.transact(rebuilder._claim)
        assert rebuild_id is not None

        assert await search.run.context.transact(lambda work: rebuilder._finish(work, rebuild_id)) == "FAILED"

        assert await search.ids("queen") == [show]
        answer = await search.run.as_user("search:write").get(f"/search/rebuild/{rebuild_id}")
        assert answer.json()["failure_reason"] == "index_differs"
        async with search.run.context.transaction() as work:
            state = await lock_state(work)
            assert (state.live, state.building) == ("a", None)

    async def test_a_request_wakes_the_rebuilder_of_the_process(self, search: SearchService) -> None:
        rebuilder = search.run.context.resource(Rebuilder)

        await search.run.as_user("search:write").post("/search/rebuild")

        assert rebuilder._wakeup.is_set()
