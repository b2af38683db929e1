"""Exit with 0 if the server of this container answers calls, as /readyz says; else print why not."""

import os
import ssl
import sys
import urllib.error
import urllib.request

WAIT_S = 4
PORT = os.environ.get("GANSERVE_METRICS_PORT", "9464")
# It asks the container's own server, whose certificate names other hosts.
OWN = ssl.create_default_context()
OWN.check_hostname = False
OWN.verify_mode = ssl.CERT_NONE

reason = ""
for scheme in ("http", "https"):
    try:
        with urllib.request.urlopen(f"{scheme}://127.0.0.1:{PORT}/readyz", timeout=WAIT_S, context=OWN) as answer:  # noqa: S310
            sys.exit(0 if answer.status == 200 else 1)
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace")
    except OSError as error:
        reason = reason or str(error)
sys.exit(reason)
