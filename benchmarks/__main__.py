"""`python -m benchmarks [case ...]`: run the cases, print the tables, hold the bars.

The exit status is 0 only if Hesper and Starlette were both measured and Hesper was nowhere slower.
A bar that is not reached is said, but does not fail: it depends on the machine.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from time import monotonic

from benchmarks.cases import CASES, GROUPS
from benchmarks.outcome import Outcome
from benchmarks.peers import load
from benchmarks.report import print_header, print_outcome
from benchmarks.timing import Clock, Mismatch

ROUNDS = 60


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
        began = monotonic()
        try:
            outcome.extend(await CASES[case](peers, clock))
        except Mismatch as mismatch:
            faults.append(f"NOT MEASURED: {case}: {mismatch}")
        progress(f"{case} took {monotonic() - began:.0f} s")
    print_outcome(outcome)
    for fault in clock.faults:
        line = f"LEFT OUT: {fault.title}: {fault.name}: {fault.reason}"
        if fault.fatal:
            faults.append(line)
        else:
            print(line)
    if not outcome.duels:
        faults.append("NOTHING PROVEN: hesper and starlette were not both measured")
    print("\n".join(faults))
    return not faults and not any(duel.lost for duel in outcome.duels)


def chosen(names: list[str]) -> Iterator[str]:
    """Yield the cases that these names stand for; all for none.

    Raises:
        KeyError: a name stands for nothing.
    """
    for name in names or CASES:
        if name in GROUPS:
            yield from GROUPS[name]
        elif name in CASES:
            yield name
        else:
            raise KeyError(name)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = ", ".join([*CASES, *GROUPS])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"any of: {known}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    options = parser.parse_args()
    try:
        cases = list(dict.fromkeys(chosen(options.cases)))
    except KeyError as unknown:
        parser.error(f"unknown case {unknown}: expected any of {known}")
    return 0 if asyncio.run(run(cases, options.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
