"""Runs the cases of the Autobahn test suite, without those of speed (9) and of compression (12, 13).

`cases.py text client ws://ADDRESS` asks a server that answers in text frames; `cases.py binary
server` tells its port and waits for a client that answers in binary ones. Prints a line for each
case that should have run: its number, how the peer behaved, how it closed, and what was found.
"""

import asyncio
import os
import sys

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver
from kosoku.cases import CASES


async def run(cases, role, url=None):
    if role == "client":
        return await run_fuzzingclient(url, cases)
    async with run_fuzzingserver(cases, port=0) as server:
        print(server.port, flush=True)
        return await server.get_result()


frames, *how = sys.argv[1:]
cases = [
    case
    for case in CASES
    if case.split(".")[0] not in ("9", "12", "13")
    # The only ones in which a binary frame is to be answered.
    and case.startswith("1.2.") == (frames == "binary")
]
try:
    results = asyncio.run(run(cases, *how))
except FailureError as failure:
    results = failure.results

results = {result.case_id: result for result in results}
for case in cases:
    if case in results:
        result = results[case]
        found = f"{result.result} {result.result_close}"
        print(case, result.behavior.value, result.behavior_close.value, found, sep="\t")
    else:
        print(case, "MISSING", "MISSING", "The case did not run.", sep="\t")

# kosoku's threads now and then abort an interpreter that ends in the usual way.
sys.stdout.flush()
os._exit(0)
