"""`python -m benchmarks`: measures Modelstead beside stock MLflow and prints the table. See the README beside this."""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks.harness import Harness
from benchmarks.rows import ROWS
from benchmarks.scale import FULL, QUICK
from benchmarks.systems import SystemFailed
from services.local.errors import LocalError

_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run what the command line asks for. Returns 0 however fast anything was, 1 if something could not be measured."""
    options = _parser().parse_args()
    chosen = options.only or [row.name for row in ROWS]
    harness = Harness(
        rows=[row for row in ROWS if row.name in chosen],
        scale=QUICK if options.quick else FULL,
        with_mlflow=not options.skip_mlflow,
    )
    # However it is interrupted, both systems end and gigabytes of data go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = harness.run()
    except KeyboardInterrupt:
        return 130
    except (LocalError, SystemFailed) as error:
        print(error, file=sys.stderr)
        return 1
    print(report.table())
    print(f"\nEach sample is in benchmarks/results/{report.write(_RESULTS).name}.")
    return 1 if harness.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Modelstead beside stock MLflow.")
    parser.add_argument(
        "--only",
        metavar="ROW",
        action="append",
        choices=[row.name for row in ROWS],
        help=f"measure this row; may be repeated. Rows: {', '.join(row.name for row in ROWS)}",
    )
    parser.add_argument("--quick", action="store_true", help="small data, short windows: to try the benchmarks, not us")
    parser.add_argument("--skip-mlflow", action="store_true", help="measure Modelstead alone: no ratios")
    return parser


if __name__ == "__main__":
    sys.exit(main())
