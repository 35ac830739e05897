"""Cost of an idle commerce system: `python bench/idle.py [seconds]`.

The whole system runs in one process, embedded and then on PostgreSQL, Redis and RabbitMQ. Measured are the processor
time as a share of one core, memory, log lines, and the statements per second that PostgreSQL counts.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from shop import Shop

from portico.servers import PostgreSQLServer, RabbitMQServer, RedisServer

SETTLING = 10.0  # seconds after the start: keys are fetched, jobs run for the first time
MEBIBYTE = 1 << 20
DATABASE = "idle"
MAX_CPU_SHARE = 1.0  # percent of a core
MAX_STATEMENTS_PER_SECOND = 5.0


class CountingPostgreSQL(PostgreSQLServer):
    """PostgreSQL that counts the statements it executes."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--shared_preload_libraries=pg_stat_statements"]

    def count(self) -> int:
        """Return how many statements the database has executed."""
        ours = f"dbid = (SELECT oid FROM pg_database WHERE datname = '{DATABASE}')"
        return int(self.execute(f"SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE {ours}", DATABASE))


def processor_time(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def measure(name: str, variables: Mapping[str, str], seconds: float, server: CountingPostgreSQL | None = None) -> None:
    with TemporaryDirectory() as folder, Shop(Path(folder), variables) as shop:
        time.sleep(SETTLING)
        if server is not None:
            server.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements", DATABASE)
        statements = server.count() if server else 0
        spent, began = processor_time(shop.pid), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        share = (processor_time(shop.pid) - spent) / took * 100
        rate = f"{(server.count() - statements - 1) / took:10.1f}/s" if server else f"{'':12}"
        memory = psutil.Process(shop.pid).memory_info().rss / MEBIBYTE
        print(f"{name:12} {share:12.2f} % {rate} {memory:8.0f} MiB")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    print(f"{'':12} {'of a core':>14} {'statements':>12} {'memory':>12}   over {seconds:.0f} s")
    measure("embedded", {}, seconds)
    with ExitStack() as stack:
        database = stack.enter_context(CountingPostgreSQL())
        rabbitmq, redis = stack.enter_context(RabbitMQServer()), stack.enter_context(RedisServer())
        addresses = {
            "DATABASE_URL": database.create_database(DATABASE),
            "RABBITMQ_URL": rabbitmq.url(),
            "REDIS_URL": redis.url(),
        }
        measure("on servers", addresses, seconds, database)
    print(f"wanted: at most {MAX_CPU_SHARE} % and {MAX_STATEMENTS_PER_SECOND} statements/s")


if __name__ == "__main__":
    main()
