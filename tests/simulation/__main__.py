"""Replays one seed and says all that happens: python -m tests.simulation SEED [STEPS]."""

from __future__ import annotations

import sys

from tests.simulation.chance import STEPS, Course


def main(arguments: list[str]) -> None:
    """Arguments: the seed, and the number of steps if it is another one."""
    if not arguments or not all(argument.isdigit() for argument in arguments[:2]):
        sys.exit("python -m tests.simulation SEED [STEPS]: both are numbers")
    seed, steps = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else STEPS
    print(Course(seed, say=print).run(steps))


main(sys.argv[1:])
