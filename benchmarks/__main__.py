"""`make bench`: the figures of this machine. Nothing here passes or fails."""

from benchmarks import long_runs, startup, steps, throughput, tokenizing


def main() -> None:
    startup.help_against_python()
    startup.first_paint_against_textual()
    long_runs.opening_a_long_journal()
    steps.no_ui_against_direct()
    tokenizing.main()
    throughput.main()


if __name__ == "__main__":
    main()
