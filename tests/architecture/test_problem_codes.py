"""Error codes are part of the API. A renamed class keeps its code; a new code is added to this list."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import portico
from portico.kit.foundation.problems import Problem

CODES = """
code_not_found code_taken seat_not_found
event_not_found
account_unknown own_address ticket_cancelled ticket_transferred ticket_used transfer_ended transfer_expired transfer_not_found
transfer_pending already_checked_in check_in_not_found check_in_superseded code_replaced scan_id_reused ticket_unknown wrong_event
too_many_transfers
email_already_verified email_unknown mail_unavailable mailed_token_invalid
already_there bad_gateway beyond_own_rights body_too_slow caller_unknown charge_in_flight conflict content_too_large
database_unavailable edited_meanwhile email_invalid email_taken forbidden head_too_long head_too_slow
client_not_found headers_too_large http_version_not_supported idempotency_key_in_flight idempotency_key_reused
booking_not_found cancellation_closed show_unknown
illegal_transition index_unavailable insufficient_stock invalid_client invalid_cursor invalid_grant invalid_request invalid_scope
invalid_token last_administrator mail_not_found no_embedded_mailbox malformed_request
method_not_allowed mixed_currencies moment_not_past not_failed not_found not_refundable notification_not_found
order_not_found order_too_large origin_refused other_currency outcome_unknown overloaded password_breached
password_guessable password_too_long
past_the_point_of_no_return
payment_key_missing payment_key_reused payment_method_missing payment_not_found permission_missing person_required
precondition_failed precondition_unsupported price_changed product_not_found products_unknown provider_unknown rebuild_not_found refresh_refused
refund_exceeds_charge refund_key_reused reservation_differs reservation_expired reservation_not_confirmed
reservation_not_found reservation_not_shipped reservation_released reservation_shipped role_taken role_unknown
saga_ended saga_not_found saga_of_another_version service_failed service_timeout service_unavailable services_only
change_in_progress event_ended invalid_layout invalid_sale_window seat_total_differs
session_not_found sign_in_busy sign_in_locked sign_in_refused signature_invalid signature_old sku_taken step_under_way
stopping storage_full target_too_long template_data_invalid template_not_found template_version_not_found ticket_not_found timeout
too_many_at_once too_many_bodies too_many_connections too_many_requests too_many_streams too_many_waiting
too_many_words too_much_stock too_precise transfer_coding_unknown unauthorized unauthorized_client unavailable
unknown_currency unsupported_content_encoding unsupported_grant_type unsupported_media_type user_deleted
user_not_found users_only void_unfinished voided websocket_expected websocket_version_not_supported wrong_password
accessible_only leaves_single_seat no_adjacent_seats not_enough_seats seat_taken seats_in_use unknown_seat unknown_section
currency_in_use seat_limit_reached sale_closed sold_out code_unknown code_exhausted code_not_valid_now hold_not_found hold_expired hold_in_use
hold_used hold_lost event_cancelled event_in_use seats_available already_waiting queue_not_open waitlist_entry_not_found not_in_queue admission_required
"""


def subclasses(kind: type[Problem]) -> Iterator[type[Problem]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def import_all() -> None:
    for module in pkgutil.walk_packages(portico.__path__, "portico."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            import_module(module.name)


def test_the_error_codes_of_the_api_are_exactly_these() -> None:
    import_all()
    shipped = [each for each in subclasses(Problem) if each.__module__.startswith("portico.")]

    assert {each.code for each in shipped if not each.__name__.startswith("_")} == set(CODES.split())
