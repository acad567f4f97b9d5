"""`make faults`: injects faults into real runs, and prints what survived. docs/faults.md."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.matrix import Played, format_matrix, kills
from tests.faults.playing import chosen, plan, play_all, plays_of

LONGEST = 1500


def main() -> int:
    """0: everything survived. 1: something did not. 2: nothing of that name."""
    options = _parser().parse_args()
    scenarios = chosen(options.only)
    if not scenarios:
        print(f"--only {' '.join(options.only)}: no such scenario; --list names them", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{s.name:30} {s.kills} kills{', repeats' * s.repeat}" for s in scenarios))
        return 0
    seed = int(time.time()) if options.seed is None else options.seed
    folder = Path(options.folder or tempfile.mkdtemp(prefix="kto-tui-faults-"))
    plays = list(
        plays_of(
            plan(scenarios, 0 if options.only and options.kills is None else _kills(options)), seed, folder
        )
    )
    print(f"{len(plays)} plays, seed {seed}, in {folder}", flush=True)
    results = play_all(plays, options.jobs, _tell)
    order = {play.seed: index for index, play in enumerate(plays)}
    results.sort(key=lambda played: order[played.seed])
    print("\n" + format_matrix(results))
    print(
        f"{kills(results)} kills, {sum(play.problem is not None for play in results)} plays did not survive"
    )
    return _conclude(results)


def _kills(options: argparse.Namespace) -> int:
    return 200 if options.kills is None else int(options.kills)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, metavar="N", help="kills at least (default: 200; with --only 0)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the first play; the next has the next one")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a scenario, or how its name begins"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="plays at a time (default: 2)")
    parser.add_argument("--folder", metavar="DIR", help="where runs lie; those that did not survive stay")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    return parser


def _tell(played: Played) -> None:
    verdict = "skipped" if played.skipped else "FAILED" if played.problem else "survived"
    print(f"{verdict:9} {played.scenario:30} {played.seconds:6.1f} s  {_first_line(played)}", flush=True)


def _first_line(played: Played) -> str:
    words = (played.problem or played.skipped or "").strip().splitlines()
    return words[-1][:240] if words else ""


def _conclude(results: list[Played]) -> int:
    for played in results:
        if played.skipped:
            print(f"not tried: {played.scenario}: {played.skipped}")
    failed = [played for played in results if played.problem]
    for played in failed:
        print(f"\n{played.scenario} did not survive; its run is kept in {played.folder}")
        print(f"again: python -m tests.faults --only {played.scenario} --seed {played.seed}")
        print((played.problem or "")[:LONGEST])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
