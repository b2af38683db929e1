"""Keep requests in flight at a server of any protocol: peer_client.py PROTOCOL ADDRESS MODEL COUNT CONCURRENCY SECONDS.

Prints the JSON of `client.py`, whose loop it uses, so that clients differ in their protocol alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

import uvloop
from client import keep_in_flight
from protocols import PROTOCOLS


async def main(protocol: str, address: str, model: str, count: int, concurrency: int, seconds: float) -> None:
    async with PROTOCOLS[protocol](address, model, count, concurrency, label=0) as calls:
        print(json.dumps(await keep_in_flight(calls, concurrency, seconds)))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])))
