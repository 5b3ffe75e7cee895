"""`python -m benchmarks [case ...]`: run the cases, print the tables, hold the bars.

The exit status is 0 only if Hesper and Starlette were both measured and Hesper was nowhere slower.
A bar that is not reached is said, but does not fail: it depends on the machine. Nor does memory.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from time import monotonic
from traceback import print_exc

from benchmarks.cases import CASES, GROUPS
from benchmarks.facts import facts
from benchmarks.outcome import Outcome
from benchmarks.page import PAGE, write
from benchmarks.peers import load
from benchmarks.report import print_header, print_outcome
from benchmarks.timing import Clock

ROUNDS = 60


def progress(title: str) -> None:
    print(f"... {title}", file=sys.stderr, flush=True)


async def run(cases: list[str], rounds: int, into_page: bool) -> bool:
    """Run the cases on one event loop, print what they found, and return whether Hesper held."""
    peers, missing = load()
    known = facts(peers, rounds, rounds < ROUNDS)
    print_header(known, missing)
    clock = Clock(rounds, progress)
    outcome = Outcome()
    faults: list[str] = []
    began = monotonic()
    for case in cases:
        start = monotonic()
        try:
            outcome.extend(await CASES[case](peers, clock))
        except Exception as fault:
            # The others are worth having; what went wrong is told, and fails the run.
            print_exc()
            faults.append(f"NOT MEASURED {case}: {type(fault).__name__}: {fault}")
        progress(f"{case} took {monotonic() - start:.0f} s, {monotonic() - began:.0f} in all")
    print_outcome(outcome)
    left_out = [f"{fault.title}: without {fault.name}: {fault.reason}" for fault in clock.faults]
    left_out += [f"{name} is missing: {reason}" for name, reason in missing.items()]
    if into_page:
        write(outcome, known, left_out)
    faults += [line for line, fault in zip(left_out, clock.faults, strict=False) if fault.fatal]
    if not outcome.duels:
        faults.append("NOTHING PROVEN: hesper and starlette were not both measured")
    for line in [*(f"LEFT OUT     {line}" for line in left_out), *faults]:
        print(line)
    return not faults and not any(duel.lost and duel.timed for duel in outcome.duels)


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
    parser.add_argument(
        "--write", action="store_true", help=f"put what all cases found into {PAGE.name}"
    )
    options = parser.parse_args()
    if options.write and options.cases:
        parser.error("--write needs all cases: the page would be left with a part of them")
    try:
        cases = list(dict.fromkeys(chosen(options.cases)))
    except KeyError as unknown:
        parser.error(f"unknown case {unknown}: expected any of {known}")
    return 0 if asyncio.run(run(cases, options.rounds, options.write)) else 1


if __name__ == "__main__":
    sys.exit(main())
