import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from tests.services.notifications.crashing import MAILS
from tests.services.notifications.letters import opened

from portico.testing.clock import START, HeldClock
from portico.testing.databases import SQLiteDatabases

ROOT = Path(__file__).parents[3]
LEASE = 60  # seconds, and a few more: what a killed process was sending is another's after that


def kill_after(mails: int | None, folder: Path, start: int) -> list[str]:
    """Run the sender from `start` on and kill it outright once it has delivered so many; what it said."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.services.notifications.crashing", str(folder), str(start)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said = []
    with child:
        for line in child.stdout:
            said.append(line.strip())
            if len(said) == mails:
                child.kill()
    return said


@pytest.mark.slow
class TestAProcessThatIsKilled:
    async def test_loses_no_mail_and_sends_none_twice_into_the_mailbox(self, tmp_path: Path) -> None:
        for turn, mails in enumerate((1, 2, 5, 9)):
            assert "done" not in kill_after(mails, tmp_path, turn * LEASE)

        assert kill_after(None, tmp_path, 4 * LEASE)[-1] == "done"

        clock = HeldClock(START + timedelta(seconds=5 * LEASE))
        async with opened(SQLiteDatabases(tmp_path / "databases"), tmp_path, clock=clock) as letters:
            found = await letters.listed()
            mails = await letters.mails()
            evidence = [await letters.detail(each["notification_id"]) for each in found]
        assert Counter(each["status"] for each in found) == {"sent": MAILS}
        assert sorted(mail.mail_id for mail in mails) == sorted(each["mail_id"] for each in found)
        outcomes = [[attempt["outcome"] for attempt in each["attempts"]] for each in evidence]
        assert all(each == ["uncertain"] * (len(each) - 1) + ["delivered"] for each in outcomes)
        assert any(len(each) > 1 for each in outcomes)  # the kills did hit something
