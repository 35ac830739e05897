from datetime import UTC, datetime
from typing import Any

import pytest
from jinja2.exceptions import SecurityError
from tests.services.notifications.support import NotificationsService

from portico.services.notifications.domain import RULES
from portico.services.notifications.templates import (
    ACCOUNT_SAMPLE,
    FILES,
    PARTS,
    SAMPLE,
    TEMPLATES,
    AccountMail,
    OrderMail,
    Templates,
    local_time,
    read_files,
)
from portico.services.notifications.ticketing_data import (
    CancellationMail,
    HolderMail,
    RefundMail,
    RescheduleMail,
    TicketsMail,
    TransferMail,
    WaitlistOfferMail,
)

SHOW = ("Queen", "2030-01-01 20:00 (Europe/Berlin)", "Wembley Arena")
BOOKING = "bkg_00000000000000000000000000"
FRAGMENTS = {
    OrderMail: ("1,059.97 USD", SAMPLE["order_id"], "Laptop", "59.98 USD"),
    AccountMail: (ACCOUNT_SAMPLE["link"], "2030-01-01 12:00 UTC"),
    TicketsMail: (*SHOW, "Stalls, row A, seat 12", "Floor", "99.00 USD", BOOKING),
    CancellationMail: (*SHOW, "1 of 2", "49.50 USD", BOOKING),
    RescheduleMail: (*SHOW, "2029-12-01 12:00 UTC", BOOKING),
    RefundMail: ("49.50 USD", BOOKING),
    HolderMail: (*SHOW, "1-A-12", "tkt_00000000000000000000000000"),
    WaitlistOfferMail: (*SHOW, "Places: 2", "2029-12-01 12:00 UTC", "hold_00000000000000000000000000"),
    TransferMail: (*SHOW, "Ada Lovelace", "bob@example.com", "1-A-12", "2029-12-01 12:00 UTC"),
}
"""What the sample of each kind of mail shows."""


async def preview(notifications: NotificationsService, name: str = "order-confirmed", **body: Any) -> Any:
    return await notifications.run.as_user("notifications:read").post(f"/templates/{name}/preview", json=body)


class TestTemplates:
    def test_exist_for_every_rule(self) -> None:
        assert {rule.template for rule in RULES} <= {each.name for each in TEMPLATES}

    def test_are_all_declared(self) -> None:
        files = {path.relative_to(FILES).as_posix() for path in FILES.glob("*/*/*")}

        assert files == {f"{each.name}/{each.version}/{part}" for each in TEMPLATES for part in PARTS}

    @pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: f"{each.name}-{each.version}")
    async def test_have_the_same_content_in_text_and_html(self, template: Any) -> None:
        written = await Templates(read_files(), signature="Shop").render(template, dict(template.sample), name="Ada")

        for fragment in ("Hello Ada,", "Shop", *FRAGMENTS[template.data]):
            assert fragment in written.text
            assert fragment in written.html
        assert "{{" not in written.text + written.html + written.subject
        assert "\n\n\n" not in written.text

    async def test_cannot_access_python_internals(self) -> None:
        sources = read_files() | {"order-confirmed/1/subject.txt": "{{ name.__class__.__mro__ }}"}

        with pytest.raises(SecurityError, match="unsafe"):
            await Templates(sources, signature="Shop").render(TEMPLATES[0], SAMPLE, name="Ada")

    async def test_are_listed(self, embedded: NotificationsService) -> None:
        answer = await embedded.staff.get("/templates")

        assert answer.json() == [
            {"name": name, "version": 1}
            for name in (
                *("booking-cancelled", "booking-refunded", "booking-rescheduled", "email-verification"),
                *(
                    "order-cancelled",
                    "order-confirmed",
                    "order-shipped",
                    "password-reset",
                    "ticket-cancelled",
                    "ticket-rescheduled",
                    "ticket-transfer",
                    "tickets",
                    "waitlist-offer",
                ),
            )
        ]

    async def test_of_shows_do_without_a_show_that_is_not_known(self) -> None:
        for each in TEMPLATES:
            if "show" in each.data.model_fields:
                data = {**each.sample, "show": None}
                written = await Templates(read_files(), signature="Shop").render(each, data, name="")

                assert "Queen" not in written.subject + written.text + written.html
                assert "\n\n\n" not in written.text

    async def test_show_a_standing_place_on_a_line_of_its_own(self, embedded: NotificationsService) -> None:
        text = (await preview(embedded, "tickets")).json()["text"]

        assert "\nStalls, row A, seat 12\nFloor\nTotal: 99.00 USD\n" in text

    def test_show_the_time_at_the_venue(self) -> None:
        moment = datetime(2027, 7, 1, 19, tzinfo=UTC)

        assert local_time(moment, "Europe/Berlin") == "2027-07-01 21:00 (Europe/Berlin)"
        assert local_time(moment, "Europe/Atlantis") == "2027-07-01 19:00 (UTC)"


class TestPreview:
    async def test_shows_an_example(self, embedded: NotificationsService) -> None:
        answer = await preview(embedded)

        assert answer.status_code == 200
        assert (answer.json()["name"], answer.json()["version"]) == ("order-confirmed", 1)
        assert answer.json()["subject"] == f"Your order {SAMPLE['order_id']} is confirmed"
        assert "Hello Ada Lovelace," in answer.json()["text"]

    async def test_takes_data(self, embedded: NotificationsService) -> None:
        answer = await preview(
            embedded, recipient_name="Bob", data={**SAMPLE, "currency": "JPY", "total": 5}, version=1
        )

        assert "Hello Bob," in answer.json()["html"]
        assert "Total: 5 JPY" in answer.json()["text"]

    @pytest.mark.parametrize(
        "data",
        [{}, SAMPLE | {"total": "much"}, SAMPLE | {"items": 7}, SAMPLE | {"total": -1}, SAMPLE | {"currency": "gold"}],
    )
    async def test_rejects_invalid_data(self, embedded: NotificationsService, data: dict[str, Any]) -> None:
        answer = await preview(embedded, data=data)

        assert (answer.status_code, answer.json()["code"]) == (422, "template_data_invalid")

    async def test_of_an_unknown_template_or_version_is_404(self, embedded: NotificationsService) -> None:
        name = await preview(embedded, "order-lost")
        version = await preview(embedded, version=2)

        assert (name.status_code, name.json()["code"]) == (404, "template_not_found")
        assert (version.status_code, version.json()["newest"]) == (404, 1)

    async def test_sends_nothing(self, embedded: NotificationsService) -> None:
        await preview(embedded)

        assert await embedded.send_due() == 0

    async def test_requires_the_permission(self, embedded: NotificationsService) -> None:
        assert (await embedded.run.as_user().post("/templates/order-confirmed/preview", json={})).status_code == 403
