"""Asks the API server how it is, with the admin's certificate."""

import http.client
import ssl
from pathlib import Path

from localcluster.network import API_PORT

SECONDS = 5.0


def ready(pki: Path) -> bool:
    """Whether /readyz answers 200; to be asked inside the node's network namespace."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
    connection = http.client.HTTPSConnection("127.0.0.1", API_PORT, timeout=SECONDS, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
