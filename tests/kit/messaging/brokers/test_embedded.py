from pathlib import Path

import pytest

from portico.kit.testing.contracts.broker import BrokerContract


class TestEmbeddedBroker(BrokerContract):
    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        return {"DATA_DIR": str(tmp_path)}
