"""Inputs that nobody should give, by the thousand: what xv refuses it refuses with one line, and nothing hangs.

By hand: ``OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/faults/fuzz.py`` (all areas), or ``… images --inputs 500
--seed 3``. Every input follows from the seed and its own number, and is a mutation of a file that is written here: an
input that is found to break something is given by these two. Inputs are looked at in a process of their own: one that
ends it, or that is silent for too long, is a finding, and the next process goes on behind it.
"""

import argparse
import importlib
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from xvcore.errors import XvError

PATIENCE = 60.0
"""Seconds after which an input hangs."""
N_SHOWN = 20
LETTERS = 4000
"""Of a message: what is longer cannot be read."""


@dataclass(frozen=True)
class Trial:
    """An input and what is done with it.

    Parameters
    ----------
    what : the input, in words
    do : gives it to xv and checks what must hold; the outcome in a word or two
    names : what a refusal has to name, one of them; empty where the caller adds it
    allowed : how it may be refused
    """

    what: str
    do: Callable[[], str]
    names: tuple[str, ...] = ()
    allowed: tuple[type[BaseException], ...] = (XvError,)


Area = Callable[[Path], Callable[[random.Random], Trial]]
"""Writes files to mutate into a folder; what it returns draws a trial by lot."""


@dataclass
class Report:
    """How often which outcome was seen, and what must not be."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def outcome(trial: Trial) -> str:
    """Return what came of a trial; AssertionError where a refusal is not one line that names the value."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found = trial.do()
        except trial.allowed as error:
            _check_words(error, trial.names)
            found = f"refused: {type(error).__name__}"
    assert not warned, f"warned of: {warned[0].category.__name__}: {warned[0].message}"
    return found


def _check_words(error: BaseException, names: tuple[str, ...]) -> None:
    kind, message = type(error).__name__, str(error)
    assert message.strip(), f"{kind} without words"
    assert len(message) < LETTERS, f"{kind} of {len(message)} letters: {message[:300]}"
    assert not names or any(name in message for name in names), f"{kind} names none of {names}: {message[:300]}"


def examine(area: Area, n_inputs: int, seed: int) -> Report:
    """Look at inputs of an area, in processes of their own."""
    report = Report()
    first = 0
    with tempfile.TemporaryDirectory() as folder:
        while first < n_inputs:
            first = _block(area, range(first, n_inputs), seed, Path(folder), report)
    return report


def _block(area: Area, numbers: range, seed: int, folder: Path, report: Report) -> int:
    """Look at inputs in one process, and return the first that it did not come to."""
    theirs, ours = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if not process:
        os.close(theirs)
        os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)  # libtiff prints what it meets
        with os.fdopen(ours, "w") as pipe:
            _look(area, numbers, seed, folder, pipe)
        os._exit(0)
    os.close(ours)
    what, at = "prepared", numbers.start
    with os.fdopen(theirs, "rb") as pipe:
        buffer = b""
        while True:
            if not select.select([pipe], [], [], PATIENCE)[0]:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                report.findings.append(f"input {at} of seed {seed} hangs ({PATIENCE:g} s): {what}")
                return at + 1
            if not (data := os.read(pipe.fileno(), 1 << 16)):
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "begun" in said:
                    at, what = said["begun"], said["what"]
                elif "outcome" in said:
                    report.outcomes[said["outcome"]] += 1
                    at, what = said["number"] + 1, "between two inputs"
                else:
                    report.findings.append(f"input {at} of seed {seed}: {what}\n{said['finding']}")
                    at, what = at + 1, "between two inputs"
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status:
        last = (folder / "stderr").read_text(errors="replace")[-2000:]
        report.findings.append(f"input {at} of seed {seed} ends the process ({status}): {what}\n{last}")
        return at + 1
    return numbers.stop


def _look(area: Area, numbers: range, seed: int, folder: Path, pipe: IO[str]) -> None:
    def say(**words: object) -> None:
        pipe.write(json.dumps(words) + "\n")
        pipe.flush()

    try:
        drawn = area(folder)
        for number in numbers:
            trial = drawn(random.Random(f"{seed}/{number}"))
            say(begun=number, what=trial.what)
            try:
                say(outcome=outcome(trial), number=number)
            except BaseException:  # noqa: BLE001  whatever escapes is what is looked for
                say(finding=traceback.format_exc(limit=-4))
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(3)


def mutated(chance: random.Random, data: bytes, others: tuple[bytes, ...] = ()) -> tuple[str, bytes]:
    """Return a file that is cut off, or altered at random, and what was done to it.

    Parameters
    ----------
    chance : of every choice
    data : the file
    others : files of which pieces are put into it
    """
    raw = bytearray(data)
    size = len(raw)
    at = chance.randrange(size) if chance.random() < 0.7 else chance.randrange(min(size, 200))
    end = min(size, at + chance.choice((1, 2, 4, 16, 100, size // 4 + 1)))
    kind = chance.choice(
        ("cut", "flip", "flips", "bytes", "zeros", "ones", "without", "twice", "more", "number", "mix")
    )
    if kind == "cut":
        raw = raw[:at]
    elif kind in ("flip", "flips"):
        places = [at] if kind == "flip" else [chance.randrange(size) for _ in range(chance.randint(2, 8))]
        for place in places:
            raw[place] ^= 1 << chance.randrange(8)
    elif kind in ("bytes", "zeros", "ones"):
        raw[at:end] = {"bytes": chance.randbytes(end - at), "zeros": bytes(end - at), "ones": b"\xff" * (end - at)}[
            kind
        ]
    elif kind == "without":
        del raw[at:end]
    elif kind == "twice":
        raw[end:end] = raw[at:end]
    elif kind == "more":
        raw[at:at] = chance.randbytes(end - at)
    elif kind == "number":
        width = chance.choice((2, 4, 8))
        value = chance.choice((0, 1, 2, 255, 256, 2 ** (4 * width), 2 ** (8 * width - 1) - 1, 2 ** (8 * width) - 1))
        raw[at : at + width] = value.to_bytes(width, chance.choice(("little", "big")))
    else:
        other = chance.choice((*others, data))
        raw[at:end] = other[at:end] if chance.random() < 0.5 else other[: end - at]
    return f"{kind} at {at} … {end} of {size}", bytes(raw)


AREAS = {
    "images": ("fuzz_files", 3000),
    "weights": ("fuzz_files", 2500),
    "networks": ("fuzz_words", 1500),
    "datasets": ("fuzz_words", 1500),
    "stores": ("fuzz_words", 700),
    "parameters": ("fuzz_words", 2500),
    "requests": ("fuzz_words", 1500),
    "files": ("fuzz_store", 1500),
    "sql": ("fuzz_sql", 1500),
}
"""Where each area is, and how many of its inputs are looked at by hand."""


def area_of(name: str) -> Area:
    """Return an area; only its own module is imported."""
    found: Area = getattr(importlib.import_module(AREAS[name][0]), name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"{', '.join(AREAS)}; none: all")
    parser.add_argument("--inputs", type=int, help="of each area")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    n_findings = total = 0
    for name in asked.areas or AREAS:
        area, usual = area_of(name), AREAS[name][1]
        started = time.monotonic()
        report = examine(area, asked.inputs or usual, asked.seed)
        n_findings += len(report.findings)
        total += report.outcomes.total() + len(report.findings)
        print(f"{name}: {asked.inputs or usual} inputs in {time.monotonic() - started:.0f} s", flush=True)
        for each, count in report.outcomes.most_common():
            print(f"{count:7} {each}")
        kinds = Counter(finding.strip().rpartition("\n")[2][:60] for finding in report.findings)
        shown = {finding.strip().rpartition("\n")[2][:60]: finding for finding in reversed(report.findings)}
        for kind, finding in list(shown.items())[:N_SHOWN]:
            print(f"FOUND {kinds[kind]} times in {name}, {finding}\n")
        print(f"{len(report.findings):7} findings", flush=True)
    print(f"{total} inputs, {n_findings} findings")
    sys.exit(bool(n_findings))


if __name__ == "__main__":
    main()
