"""``python -m tests.storm``: prints a table a server, and exits with 1 if anything was left."""

from __future__ import annotations

import argparse
import sys
from itertools import product
from secrets import randbelow

from tests.storm.report import run
from tests.storm.servers import CHOICES, POLICIES


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--server", choices=CHOICES, default="all")
    parser.add_argument("--connections", type=int, default=5000, help="for each server")
    parser.add_argument("--seed", type=int, help="a random one if not given; it is printed")
    parser.add_argument("--policy", choices=[*POLICIES, "all"], default="continue")
    options = parser.parse_args()
    seed = randbelow(1_000_000) if options.seed is None else options.seed
    failures = []
    policies = POLICIES if options.policy == "all" else [options.policy]
    for name, policy in product(CHOICES[options.server], policies):
        try:
            report = run(name, options.connections, seed, policy)
        except RuntimeError as exc:
            print(f"{name}, {policy}, seed {seed}: {exc}", end="\n\n", flush=True)
            failures.append(f"{name}, {policy}: the server does not answer any more")
        else:
            print(report, end="\n\n", flush=True)
            failures += report.failures
    print("\n".join(["FAILED", *failures]) if failures else "Nothing was left.")
    return 1 if failures else 0


sys.exit(main())
