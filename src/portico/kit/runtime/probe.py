"""Health probe for containers: `python -m portico.kit.runtime.probe http://127.0.0.1:8080/health/ready`.

It uses only the standard library, so that it starts fast.
"""

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT = 4.0
"""Seconds to wait for a response."""


def is_healthy(address: str) -> bool:
    """Return whether `address` (http://) responds with 200 in time."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_healthy(sys.argv[1]))
