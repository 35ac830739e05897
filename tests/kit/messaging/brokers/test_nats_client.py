from collections import Counter

import pytest
from nats.errors import BadSubjectError

from portico.kit._compat.nats import BatchingClient
from portico.kit.messaging.brokers.base import Message, partition_of
from portico.kit.messaging.brokers.nats_messages import encode


class TestEncode:
    def test_writes_subject_reply_and_both_sizes_in_bytes(self) -> None:
        message = Message("evt_1", "book.lent", "boök 1", "ö".encode())
        head = b"NATS/1.0\r\nId: evt_1\r\nKey: bo%C3%B6k%201\r\n\r\n"
        subject = f"shop.events.{partition_of(message.key)}.book.lent".encode()

        sent = encode("shop.events", "_INBOX.a.1.0", message)

        line = b"HPUB %b _INBOX.a.1.0 %d %d\r\n" % (subject, len(head), len(head) + 2)
        assert sent == line + head + message.body + b"\r\n"

    @pytest.mark.parametrize("event_type", ["", "book lent", "book.lent\r\nPING"])
    def test_a_type_that_would_end_the_subject_is_rejected(self, event_type: str) -> None:
        with pytest.raises(BadSubjectError):
            encode("shop.events", "_INBOX.a.1.0", Message("evt_1", event_type, "book_1", b""))


class TestBatchingClient:
    @pytest.mark.parametrize("piece", [1, 7, 60, 61, 300, 10_000])
    async def test_counts_confirmations_per_batch_for_any_split_of_the_stream(self, piece: int) -> None:
        stored: Counter[str] = Counter()
        client = BatchingClient(lambda name, count: stored.update({name: count}))
        answers = b"".join(_stored(client, batch, place) for batch in ("1", "2") for place in range(20))

        await _feed(client, answers, piece)

        # A chunk that ends within the first word goes to the driver, which counts it: no confirmation is lost.
        assert sum(stored.values()) + client.stats["in_msgs"] == 40
        assert set(stored) <= {"1", "2"}

    async def test_counts_whole_confirmations_without_the_driver(self) -> None:
        stored: Counter[str] = Counter()
        client = BatchingClient(lambda name, count: stored.update({name: count}))

        await _feed(client, b"".join(_stored(client, "1", place) for place in range(20)), 300)

        assert stored == {"1": 20}
        assert client.stats["in_msgs"] == 0

    async def test_passes_errors_and_other_messages_to_the_driver(self) -> None:
        stored: Counter[str] = Counter()
        client = BatchingClient(lambda name, count: stored.update({name: count}))
        error = b'{"error":{"code":400,"err_code":10054,"description":"too large"},"stream":"shop-events","seq":0}'
        refused = b"MSG %b.1.1 1  %d\r\n%b\r\n" % (client.inbox.encode(), len(error), error)

        await _feed(client, _stored(client, "1", 0) + refused + b"MSG another 2 2\r\n{}\r\n", 10_000)

        assert stored == {"1": 1}
        assert client.stats["in_msgs"] == 2


def _stored(client: BatchingClient, batch: str, place: int) -> bytes:
    answer = b'{"stream":"shop-events", "seq":%d}' % (place + 1)
    return b"MSG %b.%b.%d 1  %d\r\n%b\r\n" % (client.inbox.encode(), batch.encode(), place, len(answer), answer)


async def _feed(client: BatchingClient, data: bytes, piece: int) -> None:
    for first in range(0, len(data), piece):
        await client._ps.parse(data[first : first + piece])
