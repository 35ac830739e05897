-- What the services write for one order from the request to `confirmed`, transaction by transaction, for pgbench.
-- Of reads it has the products' prices and those that lock a row. The mail that the order brings about is left out.
-- Its variable "products" is the number of rows of bench_products. Ids are as long as real ones, and have no colon: to
-- pgbench a word behind one is a variable, also in a text.
\set number random(1, :products)
\set one random(100000000000, 999999999999)
\set two random(100000000000, 999999999999)
-- catalog: the price
SELECT product_id FROM bench_products WHERE number = :number \gset
SELECT name, price_minor, currency FROM catalog.products WHERE product_id = :product_id;
-- orders: the order, its saga, the event
BEGIN;
INSERT INTO orders.orders (order_id, user_id, status, currency, total_minor, lines, shipping_address, billing_address, payment_method, created_at, updated_at, revision)
VALUES ('ord_' || :one::bigint || '00' || :two::bigint, 'user_0sgc276510zqh4y33pptsj6ck9', 'pending', 'USD', 1250,
    jsonb_build_array(jsonb_build_object('name', 'Lamp 0', 'quantity', 1, 'product_id', :product_id::text, 'price_minor', 1250)),
    '{"zip": "62701", "city": "Springfield", "state": "IL", "street": "1 Main St", "country": "US"}',
    '{"zip": "62701", "city": "Springfield", "state": "IL", "street": "1 Main St", "country": "US"}', 'pm_ok', now(), now(), 1);
INSERT INTO orders.sagas (saga_id, name, subject, state, status, step, done, attempts, failures, in_doubt, skip, fence, due_at, deadline_at, started_at, trace, request_id)
VALUES ('saga_' || :one::bigint || '00' || :two::bigint, 'place-order', 'ord_' || :one::bigint || '00' || :two::bigint, repeat('x', 350), 'running',
    'reserve-stock', '', 0, 0, false, false, 0, now(), now() + interval '15 minutes', now(), repeat('x', 55), repeat('x', 30));
INSERT INTO orders.outbox (event_id, type, aggregate, body, occurred_at)
VALUES ('evt_1' || :one::bigint || '00' || :two::bigint, 'order.created', 'ord_' || :one::bigint || '00' || :two::bigint, repeat('x', 750), now());
END;
-- orders: the saga is claimed
BEGIN;
SELECT * FROM orders.sagas WHERE saga_id = 'saga_' || :one::bigint || '00' || :two::bigint FOR UPDATE SKIP LOCKED;
UPDATE orders.sagas SET attempts = attempts + 1, owner = '91a310f9578b67cc', fence = fence + 1, due_at = now() + interval '15 seconds', step_started_at = now()
WHERE saga_id = 'saga_' || :one::bigint || '00' || :two::bigint;
END;
-- catalog: the stock is reserved
BEGIN;
SELECT * FROM catalog.stock_reservations WHERE reservation_id = 'rsv_' || :one::bigint || '00' || :two::bigint FOR UPDATE;
SELECT * FROM catalog.stock_levels WHERE product_id = :product_id FOR UPDATE;
INSERT INTO catalog.stock_reservations (reservation_id, status, expires_at, created_at, updated_at)
VALUES ('rsv_' || :one::bigint || '00' || :two::bigint, 'reserved', now() + interval '1 hour', now(), now());
INSERT INTO catalog.stock_reservation_items (reservation_id, product_id, quantity) VALUES ('rsv_' || :one::bigint || '00' || :two::bigint, :product_id, 1);
INSERT INTO catalog.stock_transactions (product_id, number, transaction_id, kind, quantity, on_hand_after, reserved_after, reference, actor, created_at)
SELECT product_id, entries + 1, 'stx_' || :one::bigint || '00' || :two::bigint, 'reservation', 1, on_hand, reserved + 1, 'rsv_' || :one::bigint || '00' || :two::bigint, 'service-orders', now()
FROM catalog.stock_levels WHERE product_id = :product_id;
UPDATE catalog.stock_levels SET reserved = reserved + 1, entries = entries + 1, updated_at = now() WHERE product_id = :product_id;
UPDATE catalog.products SET stock_quantity = stock_quantity - 1, stock_entries = stock_entries + 1 WHERE product_id = :product_id;
INSERT INTO catalog.outbox (event_id, type, aggregate, body, occurred_at)
VALUES ('evt_2' || :one::bigint || '00' || :two::bigint, 'inventory.updated', :product_id, repeat('x', 550), now());
END;
-- orders: that is recorded
BEGIN;
UPDATE orders.orders SET status = 'reserved', updated_at = now(), revision = revision + 1
WHERE order_id = 'ord_' || :one::bigint || '00' || :two::bigint AND status = 'pending' AND cancel_requested_at IS NULL;
WITH updated AS (UPDATE orders.sagas SET state = repeat('x', 350), status = 'running', step = 'take-payment', done = 'reserve-stock', attempts = 1, fence = fence + 1, due_at = now() + interval '25 seconds', step_started_at = now()
    WHERE saga_id = 'saga_' || :one::bigint || '00' || :two::bigint AND fence = 1 RETURNING saga_id)
INSERT INTO orders.saga_steps (saga_id, step, action, attempt, outcome, started_at, ended_at) SELECT saga_id, 'reserve-stock', 'do', 1, 'done', now(), now() FROM updated;
END;
-- payments: the charge is intended, made by the (simulated) provider, and entered into the books
BEGIN;
INSERT INTO payments.payment_keys (key, payment_id, created_at)
VALUES ('order-ord_' || :one::bigint || '00' || :two::bigint, 'pay_' || :one::bigint || '00' || :two::bigint, now()) ON CONFLICT DO NOTHING;
INSERT INTO payments.payments (payment_id, order_id, user_id, amount_minor, currency, method, status, refunded_minor, refunding_minor, attempts, settle_at, created_at, updated_at, revision)
VALUES ('pay_' || :one::bigint || '00' || :two::bigint, 'ord_' || :one::bigint || '00' || :two::bigint, 'user_0sgc276510zqh4y33pptsj6ck9', 1250, 'USD', 'pm_ok', 'processing', 0, 0, 0, now() + interval '15 seconds', now(), now(), 1);
END;
BEGIN;
INSERT INTO payments.simulated_charges (key, charge_id, reference, amount_minor, currency, method, status, refunded_minor, requests, created_at)
VALUES ('pay_' || :one::bigint || '00' || :two::bigint, 'ch_' || :one::bigint || '00' || :two::bigint, 'ord_' || :one::bigint || '00' || :two::bigint, 1250, 'USD', 'pm_ok', 'succeeded', 0, 1, now()) ON CONFLICT DO NOTHING;
END;
BEGIN;
UPDATE payments.payments SET status = 'succeeded', charge_id = 'ch_' || :one::bigint || '00' || :two::bigint, settle_at = NULL, charged_at = now(), updated_at = now(), revision = revision + 1
WHERE payment_id = 'pay_' || :one::bigint || '00' || :two::bigint AND revision = 1;
INSERT INTO payments.ledger_transactions (transaction_id, kind, reference, payment_id, created_at)
VALUES ('txn_' || :one::bigint || '00' || :two::bigint, 'charge', 'pay_' || :one::bigint || '00' || :two::bigint, 'pay_' || :one::bigint || '00' || :two::bigint, now());
INSERT INTO payments.ledger_entries (transaction_id, account, amount_minor, currency)
VALUES ('txn_' || :one::bigint || '00' || :two::bigint, 'provider', 1250, 'USD'), ('txn_' || :one::bigint || '00' || :two::bigint, 'orders', -1250, 'USD');
INSERT INTO payments.outbox (event_id, type, aggregate, body, occurred_at)
VALUES ('evt_3' || :one::bigint || '00' || :two::bigint, 'payment.processed', 'pay_' || :one::bigint || '00' || :two::bigint, repeat('x', 550), now());
END;
-- orders: that is recorded
BEGIN;
UPDATE orders.orders SET status = 'paid', updated_at = now(), revision = revision + 1
WHERE order_id = 'ord_' || :one::bigint || '00' || :two::bigint AND status IN ('pending', 'reserved') AND cancel_requested_at IS NULL;
WITH updated AS (UPDATE orders.sagas SET state = repeat('x', 400), status = 'running', step = 'confirm-stock', done = 'reserve-stock,take-payment', attempts = 1, fence = fence + 1, due_at = now() + interval '15 seconds', step_started_at = now()
    WHERE saga_id = 'saga_' || :one::bigint || '00' || :two::bigint AND fence = 2 RETURNING saga_id)
INSERT INTO orders.saga_steps (saga_id, step, action, attempt, outcome, started_at, ended_at) SELECT saga_id, 'take-payment', 'do', 1, 'done', now(), now() FROM updated;
END;
-- catalog: the reservation is confirmed
BEGIN;
SELECT * FROM catalog.stock_reservations WHERE reservation_id = 'rsv_' || :one::bigint || '00' || :two::bigint FOR UPDATE;
SELECT * FROM catalog.stock_reservation_items WHERE reservation_id = 'rsv_' || :one::bigint || '00' || :two::bigint;
SELECT * FROM catalog.stock_levels WHERE product_id = :product_id FOR UPDATE;
UPDATE catalog.stock_reservations SET status = 'confirmed', expires_at = NULL, updated_at = now() WHERE reservation_id = 'rsv_' || :one::bigint || '00' || :two::bigint;
END;
-- orders: it is confirmed, and the saga is over
BEGIN;
UPDATE orders.orders SET status = 'confirmed', updated_at = now(), revision = revision + 1
WHERE order_id = 'ord_' || :one::bigint || '00' || :two::bigint AND status IN ('pending', 'reserved', 'paid') AND cancel_requested_at IS NULL;
WITH updated AS (UPDATE orders.sagas SET state = repeat('x', 400), status = 'done', step = '', owner = NULL, attempts = 0, fence = fence + 1, due_at = NULL, step_started_at = NULL, ended_at = now()
    WHERE saga_id = 'saga_' || :one::bigint || '00' || :two::bigint AND fence = 3 RETURNING saga_id)
INSERT INTO orders.saga_steps (saga_id, step, action, attempt, outcome, started_at, ended_at) SELECT saga_id, 'confirm-stock', 'do', 1, 'done', now(), now() FROM updated;
INSERT INTO orders.outbox (event_id, type, aggregate, body, occurred_at)
VALUES ('evt_4' || :one::bigint || '00' || :two::bigint, 'order.updated', 'ord_' || :one::bigint || '00' || :two::bigint, repeat('x', 750), now());
END;
-- the relays: what was published goes to the log, by one transaction of each service where theirs move a batch
WITH gone AS (DELETE FROM orders.outbox WHERE id IN (SELECT id FROM orders.outbox ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED) RETURNING *)
INSERT INTO orders.event_log SELECT * FROM gone;
WITH gone AS (DELETE FROM catalog.outbox WHERE id IN (SELECT id FROM catalog.outbox ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *)
INSERT INTO catalog.event_log SELECT * FROM gone;
WITH gone AS (DELETE FROM payments.outbox WHERE id IN (SELECT id FROM payments.outbox ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *)
INSERT INTO payments.event_log SELECT * FROM gone;
