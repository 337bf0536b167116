"""Make some calls in this process, and tell what came of them and how much memory they took."""

from __future__ import annotations

import json
import resource
import sys

from tests.faults.case import as_json
from tests.faults.columns import Settings, column_at


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    order = json.loads(sys.argv[1])
    column = column_at(order["column"])
    warming = column.client(Settings(order["good"]))
    warming.ask()
    warming.ask(stream=True)
    warming.close()
    told = []
    before = peak()
    for given in order["asks"]:
        client = column.client(Settings(**given["settings"]))
        outcome = client.ask(stream=given["stream"])
        outcome.peak = peak() - before
        told.append(as_json(outcome))
        client.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
