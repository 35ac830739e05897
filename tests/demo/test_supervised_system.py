import asyncio
import sys
from pathlib import Path

import pytest

from portico.demo.supervised_system import SupervisedSystem
from portico.gateway_client import ExpectationFailed

# A supervisor with an exited process that it has not waited for, and one that serves orders.
SUPERVISOR = """
import os, subprocess, sys

exited = subprocess.Popen([sys.executable, "-c", ""])
os.waitid(os.P_PID, exited.pid, os.WEXITED | os.WNOWAIT)
named = "import sys; open('/proc/self/comm', 'w').write('orders 1'); print(flush=True); sys.stdin.read()"
orders = subprocess.Popen([sys.executable, "-c", named], stdin=subprocess.PIPE)
print(orders.wait(), flush=True)
"""


async def supervised_shop(folder: Path) -> tuple[SupervisedSystem, asyncio.subprocess.Process]:
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", SUPERVISOR, stdout=asyncio.subprocess.PIPE)
    assert supervisor.stdout is not None
    await supervisor.stdout.readline()  # orders runs
    ports = {"orders": 1, "payments": 2}
    return SupervisedSystem("commerce", folder, ports, database="postgresql", _process=supervisor), supervisor


class TestKill:
    @pytest.mark.skipif(sys.platform != "linux", reason="other systems hide exited processes")
    async def test_passes_over_a_process_that_has_exited(self, tmp_path: Path) -> None:
        shop, supervisor = await supervised_shop(tmp_path)

        with pytest.raises(ExpectationFailed, match="a process of payments runs"):
            await shop.kill("payments")
        await shop.kill("orders")

        out, _ = await supervisor.communicate()
        assert out == b"-9\n"
