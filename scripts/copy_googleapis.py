"""Copies google/api/*.proto out of the wheel googleapis-common-protos, because buf cannot read wheels."""

import shutil
import sys
from importlib import resources
from pathlib import Path


def main() -> int:
    """Make the folder named on the command line hold those protos and nothing else."""
    target = Path(sys.argv[1]) / "google" / "api"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for proto in resources.files("google.api").iterdir():
        if proto.name.endswith(".proto"):
            (target / proto.name).write_bytes(proto.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
