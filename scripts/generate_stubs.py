"""Generates the Python stubs of protos/modelstead into client/modelstead, or checks that they are fresh.

Run by the interpreter of `.venv-proto` (`make proto`, `make check`), because the oldest generator that knows editions
makes the stubs that the widest range of runtimes accepts. The plugins that write the type stubs need a newer protobuf
than that generator allows, so they come from `.venv`. See docs/decisions/0002-stubs-from-the-oldest-generator.md.
"""

import argparse
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

REPOSITORY = Path(__file__).resolve().parent.parent
PROTOS = REPOSITORY / "protos"
CLIENT = REPOSITORY / "client"
PACKAGE = "modelstead"
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def main() -> int:
    """Write the stubs, or with `--check` compare them and exit 1 if any is missing, stale or left over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the stubs are not fresh")
    parser.add_argument("--plugins", type=Path, default=REPOSITORY / ".venv" / "bin", help="folder of protoc-gen-mypy")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        exit_code = generate(fresh, plugins=arguments.plugins)
        if exit_code:
            return exit_code
        differing = differences(fresh, CLIENT)
        if arguments.check:
            return report(differing)
        replace(fresh, CLIENT)
    print(f"{len(differing)} stub files changed")
    return 0


def generate(out: Path, *, plugins: Path) -> int:
    """Compile every proto of the package into `out`; return protoc's exit code, whose messages go to stderr."""
    sources = sorted((PROTOS / PACKAGE).rglob("*.proto"))
    return int(
        protoc.main(
            [
                "protoc",
                f"-I{PROTOS}",
                f"-I{_googleapis()}",
                f"-I{resources.files('grpc_tools') / '_proto'}",
                f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
                f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
                f"--python_out={out}",
                f"--grpc_python_out={out}",
                f"--mypy_out=quiet:{out}",
                f"--mypy_grpc_out=quiet:{out}",
                *map(str, sources),
            ]
        )
    )


def differences(fresh: Path, committed: Path) -> list[str]:
    """Return what differs between two generated trees, as sorted paths with a reason."""
    wanted, found = _stubs(fresh), _stubs(committed)
    missing = [f"{path} (missing)" for path in wanted - found]
    left_over = [f"{path} (its proto is gone)" for path in found - wanted]
    stale = [
        f"{path} (stale)" for path in wanted & found if (fresh / path).read_bytes() != (committed / path).read_bytes()
    ]
    return sorted(missing + left_over + stale)


def replace(fresh: Path, committed: Path) -> None:
    """Make the generated files of `committed` those of `fresh`; touch only files that differ."""
    wanted = _stubs(fresh)
    for path in _stubs(committed) - wanted:
        (committed / path).unlink()
    for path in sorted(wanted):
        target = committed / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != (fresh / path).read_bytes():
            shutil.copyfile(fresh / path, target)
        _make_packages(target.parent, committed)


def report(differing: list[str]) -> int:
    """Print the differences and return the exit code."""
    for difference in differing:
        print(f"client/{difference}", file=sys.stderr)
    if differing:
        print("The stubs do not match protos/: run `make proto` and commit the result.", file=sys.stderr)
    return 1 if differing else 0


def _stubs(root: Path) -> set[Path]:
    files = (root / PACKAGE).rglob("*_pb2*")
    return {path.relative_to(root) for path in files if path.name.endswith(SUFFIXES)}


def _make_packages(folder: Path, root: Path) -> None:
    while folder != root:
        (folder / "__init__.py").touch()
        folder = folder.parent


def _googleapis() -> Path:
    """Return the folder that holds `google/api/*.proto`, from the wheel googleapis-common-protos."""
    annotations = resources.files("google.api") / "annotations.proto"
    return Path(str(annotations)).parent.parent.parent


if __name__ == "__main__":
    sys.exit(main())
