"""The same command lines under rt and under runc. What differs must stand in expected.md, with the reason; what stands there and differs no
more is an error as well."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import cases
import compare
import observe

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="conformance/differential/run", description=__doc__.split("\n")[0])
    parser.add_argument("--runtime", required=True, metavar="PATH", help="the runtime under test (default target/rt)")
    parser.add_argument("--reference", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", action="append", metavar="CASE", help="this case only (may be repeated)")
    parser.add_argument("--show", action="store_true", help="print the difference of every command, listed or not")
    return parser.parse_args()


def play(case, runtimes, scratch):
    """One case under both, one after the other, in the same place. Runs in a process of its own, which adopts orphans."""
    place = tempfile.mkdtemp(dir=scratch)
    os.chmod(place, 0o755)  # mapped roots must be able to walk through
    try:
        return [observe.World(name, path, case, cases.CONFIG, place).play() for name, path in runtimes]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main():
    """Runs everything; the exit status says whether the differences are the listed ones."""
    args = arguments()
    table = compare.Table(f"{HERE}/expected.md")
    names = {case.name for case in cases.CASES}
    for unknown in ({place.rsplit(" ", 1)[0] for place, _ in table.rows} | set(args.only or [])) - names:
        raise SystemExit(f"there is no case {unknown!r}")
    chosen = [case for case in cases.CASES if not args.only or case.name in args.only]
    skipped = [case for case in chosen if case.v1 and not observe.has_v1()]
    chosen = [case for case in chosen if case not in skipped]
    for case in skipped:
        print(f"SKIPPED: {case.name}: its answer depends on cgroup v1, which is not mounted here")
    started, failed, commands, allowed = time.monotonic(), 0, 0, 0
    scratch = tempfile.mkdtemp(prefix="rt-differential.", dir="/var/tmp")  # not /run: that may be mounted noexec
    os.chmod(scratch, 0o755)
    runtimes = (("rt", os.path.abspath(args.runtime)), ("runc", args.reference))
    try:
        with ProcessPoolExecutor(2, max_tasks_per_child=1) as pool:
            played = [(case, pool.submit(play, case, runtimes, scratch)) for case in chosen]
            for case, future in played:
                ours, theirs = future.result()
                commands += len(ours)
                found = compare.differences(case, ours, theirs)
                complaints = compare.judge(case.name, found, table)
                wrong = {place for place, _ in complaints}
                failed += len(wrong)
                allowed += len({difference.place[0] for difference in found} - wrong)
                lines = [compare.row(difference, "?") for difference in found] if args.show else [text for _, text in complaints]
                if lines:
                    print(f"\n{case.name}: " + "; ".join(f"{i} = {seen.command}" for i, seen in enumerate(ours, 1)))
                    print("\n".join(f"  {line}" for line in lines), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    same = commands - failed - allowed
    print(f"\n{commands} command lines in {len(chosen)} cases, {time.monotonic() - started:.0f} s; {same} with the same answer, "
          f"{allowed} with differences that expected.md lists ({len(table.rows)} rows)")
    print(f"{commands - failed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
