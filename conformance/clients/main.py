"""The command line of the clients' run: which scenarios with which client and runtime, in which order, and what comes of it.

`rt` is under test; crun and runc are peers. A scenario fails the run when it fails with rt: one that is impossible here
says so itself, and why."""

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import client
import image
import program
import soak
from containerd import Containerd
from cri import Cri
from buildah import Buildah
from docker import Docker
from podman import Podman
from scenario import IMAGE, SCENARIOS, Case

HERE = os.path.dirname(os.path.abspath(__file__))
# In the order of their start: dockerd has to come before a containerd it could take for its own.
CLIENTS = [Podman, Buildah, Docker, Containerd, Cri]


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="conformance/clients/run", description=__doc__.split("\n")[0])
    parser.add_argument("--rt", default=os.path.normpath(f"{HERE}/../../target/rt"), help="the binary under test")
    parser.add_argument("--client", action="append", choices=[kind.name for kind in CLIENTS])
    parser.add_argument("--runtime", action="append", choices=list(client.RUNTIMES), help="default: all three")
    parser.add_argument("--only", action="append", metavar="NAME", help="scenarios whose name contains this")
    parser.add_argument("--quick", action="store_true", help="without those that take long")
    parser.add_argument("--verbose", action="store_true", help="say each result as it comes")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at a time (default 4)")
    parser.add_argument("--soak", action="store_true", help="many short containers instead of scenarios")
    parser.add_argument("--kills", action="store_true", help="the runtime killed at many points instead (also a peer: --runtime)")
    parser.add_argument("--keep-logs", metavar="DIR", help="copy the daemons' logs there at the end")
    parser.add_argument("--start", metavar="COMMAND", help="start the clients, then run this instead of scenarios")
    return parser.parse_args()


def chosen(args):
    """The scenarios to run."""
    for module in sorted(os.listdir(f"{HERE}/scenarios")):
        if module.endswith(".py"):
            importlib.import_module(f"scenarios.{module[:-3]}")
    names = [kind.name for kind in CLIENTS]
    wanted = lambda s: ((not args.client or s.client in args.client) and not (args.quick and s.slow)
                        and (not args.only or any(part in s.name for part in args.only)))
    return sorted((s for s in SCENARIOS if wanted(s)), key=lambda s: names.index(s.client))


class Result:
    """How a scenario went with one runtime."""

    def __init__(self, verdict, reason="", seconds=0.0):
        self.verdict, self.reason, self.seconds = verdict, reason, seconds


def attempt(scenario, manager, runtime, scratch):
    """Runs one scenario with one runtime."""
    case, started = Case(manager, runtime, scratch, scenario.network), time.monotonic()
    try:
        scenario.function(case)
        verdict, reason = "ok", ""
    except program.Skip as skip:
        verdict, reason = "-", str(skip)
    except program.Failure as failure:
        verdict, reason = "FAIL", str(failure)
    except Exception:  # a mistake of ours is a failure too
        verdict, reason = "FAIL", traceback.format_exc().strip()
    case.close()
    return Result(verdict, reason, time.monotonic() - started)


def run_all(scenarios, managers, runtimes, jobs, scratch, verbose):
    """{(scenario, runtime): Result}: together what can be, then the exclusive ones one after another."""
    pairs = [(s, runtime) for s in scenarios for runtime in runtimes]
    results, lock = {}, threading.Lock()

    def one(pair):
        result = attempt(pair[0], managers[pair[0].client], pair[1], scratch)
        with lock:
            results[pair] = result
            progress(len(results), len(pairs), pair, result if verbose else None)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, [pair for pair in pairs if not pair[0].exclusive]))
    for pair in pairs:
        if pair[0].exclusive:
            one(pair)
    return results


def progress(done, total, pair, result):
    """A line that stays, if asked for; else one that moves, for people only."""
    if result:
        print(f"{done} of {total} {result.verdict:4} {pair[1]:4} {pair[0].row} {result.seconds:.0f} s {result.reason}", file=sys.stderr, flush=True)
    elif sys.stderr.isatty():
        print(f"\r\033[K{done} of {total}: {pair[0].row}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def print_table(scenarios, runtimes, results):
    """One line a scenario, one column a runtime."""
    width = max(len(s.row) for s in scenarios)
    print(f"{'scenario':{width}}" + "".join(f"{runtime:>6}" for runtime in runtimes))
    for s in scenarios:
        cells = [results[s, runtime] for runtime in runtimes]
        reasons = {cell.reason for cell in cells if cell.verdict == "-"}
        print(f"{s.row:{width}}" + "".join(f"{cell.verdict:>6}" for cell in cells) + "".join(f"   {r}" for r in reasons))


def hold_to_the_peers(scenarios, runtimes, results):
    """What a peer can do here is not impossible here."""
    for s in scenarios:
        mine = results[s, runtimes[0]]
        if mine.verdict == "-" and any(results[s, peer].verdict == "ok" for peer in runtimes[1:]):
            mine.verdict = "FAIL"


def print_verdicts(scenarios, runtimes, results):
    """What failed, and the totals of the runtime under test (the first). Returns how many scenarios fail the run."""
    hold_to_the_peers(scenarios, runtimes, results)
    for runtime in runtimes:
        failed = [s for s in scenarios if results[s, runtime].verdict == "FAIL"]
        if failed:
            print(f"\nFailures of {runtime}:")
        for s in failed:
            peers = [peer for peer in runtimes if peer != runtime and results[s, peer].verdict == "ok"]
            also = f" ({' and '.join(peers)}: ok)" if peers else ""
            print(f"  {s.row}{also}: {results[s, runtime].reason}")
    print()
    for runtime in runtimes:
        cells = [results[s, runtime] for s in scenarios]
        count = lambda verdict: sum(cell.verdict == verdict for cell in cells)
        print(f"{runtime}: {count('ok')} ok, {count('FAIL')} failed, {count('-')} skipped; {sum(c.seconds for c in cells):.0f} s of work")
    cells = [results[s, runtimes[0]].verdict for s in scenarios]
    print(f"\n{cells.count('ok')} passed, {cells.count('FAIL')} failed, {cells.count('-')} skipped")
    return cells.count("FAIL")


def start(managers, kinds, runtimes, scratch):
    """Starts the clients, and adds them by name."""
    archive = image.make(f"{scratch}/image.tar", IMAGE)
    image.make(f"{scratch}/pause.tar", "localhost/pause:1", ["sleep", "2147483647"])
    for kind in kinds:
        managers[kind.name] = kind(scratch)
        managers[kind.name].start(runtimes, archive)


def main():
    """Runs everything; the exit status says whether rt did what it should."""
    args = arguments()
    scenarios = chosen(args)
    if not scenarios:
        sys.exit("no scenario of that name: --list has them")
    if args.list:
        print("\n".join(s.row for s in scenarios))
        return 0
    runtimes = [name for name in client.RUNTIMES if not args.runtime or name in args.runtime]
    names = args.client or ([] if args.start or args.soak or args.kills else {s.client for s in scenarios})
    scratch = tempfile.mkdtemp(prefix="clients.", dir="/mnt")  # the world's own
    os.chmod(scratch, 0o755)  # ordinary users and remapped roots look in it
    shutil.copy(args.rt, client.RT)
    if not shutil.which("criu") and os.environ.get("RT_CLIENTS_CRIU"):
        os.symlink(os.environ["RT_CLIENTS_CRIU"], "/usr/local/bin/criu")  # the world's own
    managers = {}
    try:
        start(managers, [kind for kind in CLIENTS if kind.name in names or not names], runtimes, scratch)
        if args.start:
            return program.subprocess.call(["sh", "-c", args.start])
        if args.soak or args.kills:
            return soak.main(managers, scratch, args.soak, runtimes[0] if args.kills else None)
        results = run_all(scenarios, managers, runtimes, args.jobs, scratch, args.verbose)
    finally:
        for manager in reversed(managers.values()):
            manager.stop()
        if args.keep_logs:
            shutil.copytree(scratch, args.keep_logs, dirs_exist_ok=True, ignore=shutil.ignore_patterns("c[0-9]*", "*.tar"))
    print_table(scenarios, runtimes, results)
    return 1 if print_verdicts(scenarios, runtimes, results) else 0


if __name__ == "__main__":
    sys.exit(main())
