"""Asks an address whether it is well, for containers: `python -m portico.kit.runtime.probe http://127.0.0.1:8080/health/ready`.

It needs nothing but the standard library, so that asking costs little.
"""

import http.client
import sys
from urllib.parse import urlsplit

PATIENCE = 4.0
"""seconds"""


def well(address: str) -> bool:
    """Whether `address`, an http:// one, answers with 200 in time."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not well(sys.argv[1]))
