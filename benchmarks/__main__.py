"""`python -m benchmarks [case ...]`: run the cases, print the tables, hold the bars.

The exit status is 0 only if Hesper and Starlette were both measured and Hesper was nowhere slower.
A bar that is not reached is said, but does not fail: it depends on the machine.
"""

import argparse
import asyncio
import sys

from benchmarks.cases import CASES
from benchmarks.outcome import Outcome
from benchmarks.peers import load
from benchmarks.report import print_header, print_outcome
from benchmarks.timing import Clock, Mismatch

ROUNDS = 80


def progress(title: str) -> None:
    print(f"... {title}", file=sys.stderr, flush=True)


async def run(cases: list[str], rounds: int) -> bool:
    """Run the cases on one event loop, print what they found, and return whether Hesper held."""
    peers, missing = load()
    print_header(peers, missing, rounds)
    clock = Clock(rounds, progress)
    outcome = Outcome()
    faults: list[str] = []
    for case in cases:
        try:
            outcome.extend(await CASES[case](peers, clock))
        except Mismatch as mismatch:
            faults.append(f"NOT MEASURED: {case}: {mismatch}")
    print_outcome(outcome)
    if not outcome.duels:
        faults.append("NOTHING PROVEN: hesper and starlette were not both measured")
    for fault in faults:
        print(fault)
    return not faults and not any(duel.lost for duel in outcome.duels)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"any of: {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    options = parser.parse_args()
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}: expected any of {', '.join(CASES)}")
    held = asyncio.run(run(options.cases or list(CASES), options.rounds))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
