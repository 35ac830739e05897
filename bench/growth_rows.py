"""Rows of `products` products and `orders` orders in all services of commerce, inserted by SQL.

A product and an order have the same rows as if the services had written them. Every twentieth order belongs to one
customer. The others belong to `orders / 10` users.
"""

from string import Template

import asyncpg

ID = "lpad(n::text, 26, '0')"
AT = "now() - interval '400 days' + n * interval '1 second'"
USER = "CASE WHEN n % 20 = 0 THEN '$jane' ELSE 'user_' || lpad((n % $users + 1)::text, 26, '0') END"
PRODUCT = "'prod_' || lpad((n % $products + 1)::text, 26, '0')"
ADDRESS = '{"zip": "4050-001", "city": "Porto", "state": "PT-13", "street": "1 Quay Street", "country": "PT"}'
NOUNS = "(ARRAY['lamp','chair','table','kettle','cable','helmet','jacket','camera','speaker','drill'])[1 + n % 10]"
ADJECTIVES = "(ARRAY['red','blue','light','heavy','small','large','foldable','wireless'])[1 + n / 10 % 8]"
ENVELOPE = """'{"specversion":"1.0","id":"evt_' || lpad(n::text, 26, '0') || '","type":"order.created","eventversion":1,
"source":"/commerce/orders","subject":"ord_' || lpad(n::text, 26, '0') || '","time":"2026-01-01T00:00:00Z","data":{}}'"""

PRODUCTS = {
    "catalog.products": (
        (
            "product_id, sku, name, name_order, description, price_minor, price_order, currency, category, stock_quantity,"
            " attributes, created_at, updated_at, revision, stock_entries"
        ),
        (
            f"'prod_' || {ID}, 'SKU-' || n, {ADJECTIVES} || ' ' || {NOUNS}, {ADJECTIVES} || ' ' || {NOUNS}, 'of good quality',"
            f" 100 + n % 90000, 10000 + n % 90000 * 100, 'USD', {NOUNS}, 1000, '{{}}', {AT}, {AT}, 1, 1"
        ),
    ),
    "catalog.stock_levels": (
        "product_id, on_hand, reserved, entries, updated_at",
        f"'prod_' || {ID}, 1000, 0, 1, {AT}",
    ),
    "catalog.stock_transactions": (
        "product_id, number, transaction_id, kind, quantity, on_hand_after, reserved_after, actor, created_at",
        f"'prod_' || {ID}, 1, 'stx_' || {ID}, 'receipt', 1000, 1000, 0, '$jane', {AT}",
    ),
}
WORDS = f"""INSERT INTO catalog.product_words (word, product_id)
SELECT word, 'prod_' || lpad(n::text, 26, '0') FROM generate_series(1, $products) AS n, LATERAL (
    SELECT unnest(ARRAY[{NOUNS}, {ADJECTIVES}, 'sku', n::text]) AS word
    UNION ALL SELECT 'quality' WHERE n % 2 = 0
    UNION ALL SELECT 'unicorn' WHERE n <= 100
) AS words ORDER BY 1, 2"""
"""One in two products has the word "quality", and a hundred products have the word "unicorn"."""

ORDERS = {
    "catalog.stock_reservations": (
        "reservation_id, status, created_at, updated_at",
        f"'rsv_' || {ID}, 'confirmed', {AT}, {AT}",
    ),
    "catalog.stock_reservation_items": ("reservation_id, product_id, quantity", f"'rsv_' || {ID}, {PRODUCT}, 1"),
    "orders.orders": (
        (
            "order_id, user_id, status, currency, total_minor, lines, shipping_address, billing_address, payment_method,"
            " created_at, updated_at, revision"
        ),
        (
            f"'ord_' || {ID}, {USER}, CASE WHEN n % 10 = 0 THEN 'shipped' ELSE 'confirmed' END, 'USD', 1250,"
            f" jsonb_build_array(jsonb_build_object('name', 'Lamp', 'quantity', 1, 'price_minor', 1250, 'product_id', {PRODUCT})),"
            f" '{ADDRESS}', '{ADDRESS}', 'pm_ok', {AT}, {AT}, 4"
        ),
    ),
    "orders.sagas": (
        (
            "saga_id, name, subject, state, status, step, done, attempts, failures, in_doubt, skip, fence, deadline_at,"
            " started_at, ended_at"
        ),
        (
            f"'saga_' || {ID}, 'place-order', 'ord_' || {ID}, '{{}}', 'done', '', 'reserve-stock,take-payment', 0, 0, false,"
            f" false, 4, {AT}, {AT}, now()"
        ),
    ),
    "orders.event_log": (
        "id, event_id, type, aggregate, body, occurred_at",
        f"n, 'evt_' || {ID}, 'order.created', 'ord_' || {ID}, {ENVELOPE}, now()",
    ),
    "orders.idempotency_keys": (
        "key, fingerprint, claimed_at, status, headers, body",
        "md5(n::text) || md5(n::text), md5(n::text), now(), 201, '{}', '{}'",
    ),
    "payments.payments": (
        (
            "payment_id, order_id, user_id, amount_minor, currency, method, status, charge_id, refunded_minor, refunding_minor,"
            " attempts, charged_at, created_at, updated_at, revision"
        ),
        f"'pay_' || {ID}, 'ord_' || {ID}, {USER}, 1250, 'USD', 'pm_ok', 'succeeded', 'ch_' || {ID}, 0, 0, 0, {AT}, {AT}, {AT}, 2",
    ),
    "payments.payment_keys": (
        "key, payment_id, created_at",
        f"'order:ord_' || {ID}, 'pay_' || {ID}, {AT}",
    ),
    "payments.ledger_transactions": (
        "transaction_id, kind, reference, payment_id, created_at",
        f"'txn_' || {ID}, 'charge', 'pay_' || {ID}, 'pay_' || {ID}, {AT}",
    ),
    "payments.simulated_charges": (
        "key, charge_id, reference, amount_minor, currency, method, status, refunded_minor, requests, created_at",
        f"'pay_' || {ID}, 'ch_' || {ID}, 'ord_' || {ID}, 1250, 'USD', 'pm_ok', 'succeeded', 0, 1, {AT}",
    ),
    "payments.event_log": (
        "id, event_id, type, aggregate, body, occurred_at",
        f"n, 'evp_' || {ID}, 'payment.processed', 'pay_' || {ID}, '{{}}', now()",
    ),
    "notifications.notifications": (
        (
            "notification_id, user_id, channel, template, template_version, order_id, data, mail_id, status, attempt_count, tries,"
            " waits_since, created_at, sent_at, revision"
        ),
        (
            f"'ntf_' || {ID}, {USER}, 'email', 'order-confirmed', 1, 'ord_' || {ID}, '{{}}', 'mail_' || {ID}, 'sent', 1, 1,"
            f" {AT}, {AT}, {AT}, 3"
        ),
    ),
    "notifications.attempts": (
        "notification_id, number, recipient, started_at, ended_at, outcome, answer",
        f"'ntf_' || {ID}, 1, 'jane@example.com', {AT}, {AT}, 'delivered', ''",
    ),
    "notifications.inbox": ("consumer, event_id, handled_at", f"'queue-order-mail', 'evt_' || {ID}, now()"),
    "identity.audit_log": (
        "audit_id, at, action, actor, user_id, address, details",
        f"'audit_' || {ID}, now(), 'sign_in.succeeded', {USER}, {USER}, '127.0.0.1', '{{}}'",
    ),
    "identity.refresh_tokens": (
        "digest, session_id, issued_at, expires_at, generation, successors",
        f"md5(n::text) || md5(n::text), 'session_' || {ID}, now(), now() + interval '30 days', 0, 0",
    ),
    "identity.sessions": (
        "session_id, user_id, device, address, created_at, last_used_at, expires_at, tokens_expire_at, ended_at",
        (
            f"'session_' || {ID}, {USER}, 'a browser', '127.0.0.1', {AT}, {AT}, now() + interval '30 days', now() + interval '1 hour',"
            f" CASE WHEN n % 1000 < 980 THEN {AT} END"
        ),
    ),
}
SERIES = {
    "orders.saga_steps": (
        "saga_id, step, action, attempt, outcome, started_at, ended_at",
        f"'saga_' || {ID}, step, 'do', 1, 'done', {AT}, {AT}",
        "unnest(ARRAY['reserve-stock', 'take-payment', 'confirm-stock']) AS step",
    ),
    "payments.ledger_entries": (
        "transaction_id, account, amount_minor, currency",
        f"'txn_' || {ID}, account, CASE account WHEN 'provider' THEN 1250 ELSE -1250 END, 'USD'",
        "unnest(ARRAY['provider', 'sales']) AS account",
    ),
}
"""Tables with several rows for an order."""

DEAD = (
    "kind, consumer, event_id, type, aggregate, body, state, attempts, next_at, cause, error, failed_at",
    (
        f"'handler_failed', 'queue-order-mail', 'evt_' || {ID}, 'order.created', 'ord_' || {ID}, '{{}}', 'dead', 40, {AT}, 'Error',"
        f" 'a long text', {AT}"
    ),
)
USERS = {
    "identity.users": (
        "user_id, email, email_key, password_hash, is_active, tokens_valid_from, created_at, updated_at, revision",
        f"'user_' || {ID}, 'user' || n || '@example.com', 'user' || n || '@example.com', '', true, {AT}, {AT}, {AT}, 1",
    ),
    "identity.memberships": ("user_id, role", f"'user_' || {ID}, 'customer'"),
    "notifications.recipients": ("user_id, email, updated_at", f"'user_' || {ID}, 'user' || n || '@example.com', {AT}"),
}
ADVANCE_SEQUENCES = "SELECT setval(format('%I.%I', schemaname, sequencename), 100000000) FROM pg_sequences"
"""Rows that the services write later have higher numbers than these."""


async def load(url: str, *, products: int, orders: int, jane: str) -> None:
    """Insert the rows into a migrated database, and analyze it.

    Args:
        url: address of the database.
        products: number of products.
        orders: number of orders.
        jane: id of the user who has every twentieth order.
    """
    users = max(1, orders // 10)
    numbers = {"products": products, "orders": orders, "users": users, "jane": jane}
    connection = await asyncpg.connect(url)
    try:

        async def execute(statement: str) -> None:
            await connection.execute(Template(statement).substitute(numbers))

        await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        for tables, count in ((PRODUCTS, products), (ORDERS, orders), (USERS, users)):
            for table, (columns, values) in tables.items():
                await execute(_insert(table, columns, values, count))
        for table, (columns, values, more) in SERIES.items():
            await execute(_insert(table, columns, values, orders, more))
        await execute(_insert("notifications.failed_events", DEAD[0], DEAD[1], orders // 100))
        await execute(WORDS)
        await connection.execute(ADVANCE_SEQUENCES)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def _insert(table: str, columns: str, values: str, count: int, more: str = "") -> str:
    """Return the statement that inserts `count` rows; with `more`, `count` rows for each of its rows."""
    source = f"generate_series(1, {count}) AS n" + (f", {more}" if more else "")
    return f"INSERT INTO {table} ({columns}) SELECT {values} FROM {source}"
