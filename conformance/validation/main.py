"""The command line of the validation run: what is run, in which order, and what the outcome means.

The first runtime is the one under test. Every further one is a peer: its results stand beside, and whatever a peer
passes, the runtime under test has to pass too, unless expected.md says that passing would break the specification."""

import argparse
import os
import re
import shutil
import sys
import tempfile

import program as programs
from expected import Table

HERE = os.path.dirname(os.path.abspath(__file__))
# Run once more with the specification's letter instead of runc's habits (rt only).
STRICT = "delete"


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="conformance/validation/run", description=__doc__.split("\n")[0])
    parser.add_argument("--runtime", action="append", metavar="PATH", help="the first is under test, others are peers")
    parser.add_argument("--only", action="append", metavar="NAME", help="run this program only (may be repeated)")
    parser.add_argument("--jobs", type=int, default=3, help="programs at a time (default 3)")
    parser.add_argument("--suite", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--logs", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def log_path(logs, runtime, row):
    """Where the output of a program is kept."""
    return f"{logs}/{runtime.name}.{row.replace(' ', '.')}.log"


def clue(path):
    """What a program's output says about its failure: the first failed test, and the last words on standard error."""
    with open(path) as log:
        lines = [line.strip()[:300] for line in log]
    failed = [line for line in lines if line.startswith("not ok") and "# TODO" not in line]
    words = [line for line in lines if not re.match(r"(not )?ok|#|1\.\.|TAP |exit status \d|$", line)]
    return "".join(f"\n      {line}" for line in failed[:1] + words[-1:])


class Task:
    """One program with one runtime; `strict` is the extra row."""

    def __init__(self, runtime, name, attempts, strict=False):
        self.runtime, self.name, self.attempts, self.strict = runtime, name, attempts, strict
        self.row = f"{name} RT_STRICT=1" if strict else name
        self.pid = self.pipe = self.result = None

    def start(self, suite, scratch, logs):
        """Forks the process that will adopt this program's orphans."""
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.write(writing, programs.to_json(self.attempt(suite, scratch, logs)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        self.pipe = reading

    def attempt(self, suite, scratch, logs):
        """Runs the program until it passes, as often as expected.md allows."""
        environment = {"RT_STRICT": "1"} if self.strict else {}
        log = log_path(logs, self.runtime, self.row)
        for attempt in range(1, self.attempts + 1):
            place = tempfile.mkdtemp(dir=scratch)
            result = programs.run(self.runtime, self.name, suite, place, environment, log)
            result.attempts = attempt
            if result.passed:
                break
        return result

    def finish(self):
        """Takes the result; a runner that died counts as a program that failed."""
        text = os.read(self.pipe, 65536).decode()
        os.close(self.pipe)
        self.result = programs.from_json(text) if text else programs.Result(status=99)


def run_all(tasks, jobs, suite, scratch, logs):
    """Runs the tasks, `jobs` at a time, those that share the fixed cgroup one after another."""
    waiting, running = list(tasks), {}
    while waiting or running:
        busy = any(programs.needs_the_cgroup(task.name) for task in running.values())
        nextone = next((task for task in waiting if not (busy and programs.needs_the_cgroup(task.name))), None)
        if nextone and len(running) < jobs:
            waiting.remove(nextone)
            nextone.start(suite, scratch, logs)
            running[nextone.pid] = nextone
            continue
        pid, _ = os.wait()
        done = running.pop(pid)
        done.finish()
        progress(len(tasks) - len(waiting) - len(running), len(tasks))


def progress(done, total):
    """One line that moves, for people only."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def judge(result, expected, peers):
    """(verdict, complaint) of the runtime under test for one program; a complaint fails the run."""
    passing = [name for name, peer in peers.items() if peer.passed]
    if expected is None or expected.kind == "passes within":
        if result.passed:
            return "passed", None
        also = f" ({' and '.join(passing)} passed)" if passing else ""
        return "failed", f"failed unexpectedly{also}"
    if expected.kind == "either":
        return "skipped", None
    if result.passed:
        return "failed", "passed although expected.md says that it fails: correct the table"
    if expected.kind == "fails" and passing:
        return "failed", f"failed as expected.md says, but {' and '.join(passing)} passed"
    if expected.number is not None and result.not_ok != expected.number:
        return "failed", f"{result.not_ok} lines not ok, expected {expected.number}"
    return "skipped", None


def print_table(rows, runtimes, table):
    """One line a program, one column a runtime."""
    width = max(len(row) for row in rows)
    head = "".join(f"{runtime.name:>22}" for runtime in runtimes)
    print(f"\n{'program':{width}}{head}  expected")
    for row, results in rows.items():
        cells = "".join(f"{results[r.name].cell() if r.name in results else '':>22}" for r in runtimes)
        expected = table.find(row)
        print(f"{row:{width}}{cells}  {expected.kind if expected else 'passes'}")


def print_totals(rows, runtimes):
    """Per runtime: programs, TAP lines, what was left behind."""
    print("\nCells are TAP lines ok/not ok/skip; x marks a program that does not pass; `soft` is an error block without")
    print("any TAP line, rc the exit status of the program where it is not 0.\n")
    for runtime in runtimes:
        all_results = [results[runtime.name] for results in rows.values() if runtime.name in results]
        total = lambda field: sum(getattr(result, field) for result in all_results)
        clean = sum(result.passed for result in all_results)
        print(f"{runtime.name} ({runtime.version}): {clean} of {len(all_results)} programs pass; TAP lines "
              f"{total('ok')} ok, {total('not_ok')} not ok, {total('skip')} skipped; left behind and removed: "
              f"{total('left_containers')} containers, {total('left_cgroups')} cgroups, "
              f"{total('left_processes')} processes; {total('seconds'):.0f} s")


def print_verdicts(rows, subject, table, logs):
    """The runtime under test against expected.md and its peers. Returns how many programs fail the run."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    skipped, complaints = [], []
    for row, results in rows.items():
        expected = table.find(row)
        peers = {name: result for name, result in results.items() if name != subject.name}
        verdict, complaint = judge(results[subject.name], expected, peers)
        counts[verdict] += 1
        if verdict == "skipped":
            skipped.append(f"  {row}: {expected.reason}")
        if complaint:
            complaints.append(f"  {row}: {complaint}{clue(log_path(logs, subject, row))}")
    if skipped:
        print(f"\nNot counted for {subject.name}, with the reason:")
        print("\n".join(skipped))
    if complaints:
        print(f"\nFailures of {subject.name} (output in {logs}):")
        print("\n".join(complaints))
    print(f"\n{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return counts["failed"]


def main():
    """Runs everything; the exit status says whether the outcome is the expected one."""
    args = arguments()
    table = Table(f"{HERE}/expected.md")
    names = sorted(os.listdir(f"{args.suite}/bin"))
    table.check_names(names)
    for name in args.only or []:
        if name not in names:
            raise SystemExit(f"the suite has no program {name!r}")
    names = [name for name in names if not args.only or name in args.only]

    shutil.rmtree(args.logs, ignore_errors=True)
    os.mkdir(args.logs)
    scratch = tempfile.mkdtemp(prefix="rt-validation.", dir="/var/tmp")  # not /run: that may be mounted noexec
    os.chmod(scratch, 0o755)
    try:
        runtimes = [programs.Runtime.probe(path, scratch) for path in args.runtime]
        subject = runtimes[0]
        tasks = [Task(runtime, name, table.attempts(name)) for name in names for runtime in runtimes]
        if STRICT in names and subject.version.startswith("rt "):
            tasks.append(Task(subject, STRICT, 1, strict=True))
        run_all(tasks, args.jobs, args.suite, scratch, args.logs)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

    rows = {}
    for task in tasks:
        rows.setdefault(task.row, {})[task.runtime.name] = task.result
    with open(f"{args.suite}/version") as version:
        print(f"OCI runtime-tools validation suite {version.read().strip()}, {len(names)} programs")
    print_table(rows, runtimes, table)
    print_totals(rows, runtimes)
    return 1 if print_verdicts(rows, subject, table, args.logs) else 0


if __name__ == "__main__":
    sys.exit(main())
