"""Sides measured in turns, so that what the machine does meanwhile falls on all of them."""

import statistics
import sys
import time
from contextlib import ExitStack, contextmanager

import numpy as np

from . import Process, SideError

PAUSE = 0.2  # seconds before a turn


@contextmanager
def started(names, pythons=()):
    """Processes for the sides of these names, in this interpreter or in the one that ``pythons`` says; ended with the block."""
    pythons = dict(pythons)
    with ExitStack() as stack:
        yield {name: stack.enter_context(Process(name, pythons.get(name, sys.executable))) for name in names}


def prove(processes, order="make", **case):
    """Have every side make the case; those that compute the same as the first, and what the others had to say.

    The order is ``"make"``, for a network and its losses, ``"make_sequence"``, for one on sequences, or ``"make_layer"``, for a
    layer by itself.

    Raises
    ------
    SideError
        If the first cannot make it: then there is nothing to compare with.
    """
    first, *others = processes
    atol = 1e-3 if order == "make_layer" else 0  # elements may be 0, losses are not
    wanted = processes[first].ask(order, **case)
    right, failed = [first], {}
    for name in others:
        try:
            losses = processes[name].ask(order, **case)
        except SideError as error:
            failed[name] = str(error)
            continue
        if np.allclose(losses, wanted, rtol=1e-3, atol=atol):
            right.append(name)
        else:
            failed[name] = f"computes something else, {losses} where {first} has {wanted}"
    return {name: processes[name] for name in right}, failed


def take_turns(processes, seconds):
    """The median seconds of a step on each side, which has made its case; ``seconds`` in all, and at least three turns.

    A turn lasts a quarter of a second, or a step; a side that needs more than a second for one has three turns. Before it there
    is a pause, in which the side before comes to rest: threads of OpenMP and BLAS wait for more in a busy loop. And each round
    starts with another side.
    """
    steps = {name: max(1, int(0.25 / process.ask("time", steps=2))) for name, process in processes.items()}
    times, order = {name: [] for name in processes}, list(processes)
    end = time.perf_counter() + seconds
    n_turns = 0
    while n_turns < 3 or time.perf_counter() < end:
        n_turns += 1
        order.append(order.pop(0))
        for name in order:
            if n_turns > 3 and times[name][0] > 1:
                continue
            time.sleep(PAUSE if seconds else 0)
            if steps[name] > 1:
                processes[name].ask("time", steps=max(1, steps[name] // 4))  # wake up
            times[name].append(processes[name].ask("time", steps=steps[name]))
    return {name: statistics.median(t) for name, t in times.items()}
