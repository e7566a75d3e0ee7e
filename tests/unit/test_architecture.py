"""Proves that the sources keep to the architecture: who may import whom, who may touch SQL and the environment, sizes.

Every rule takes sources as text, so that the tests below it can show that it bites.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 400

# The layers of a service, lowest first. A module of another name belongs to the highest layer that it imports.
LAYERS = ("model", "tables", "store", "service", "servicer", "__main__")
BELOW_GRPC = ("model", "tables", "store", "service")
# Packages without a database of their own, so without slices: there a name such as `tables` means something else.
WITHOUT_SLICES = frozenset({"common", "gateway", "local"})
SQL_LAYERS = ("tables", "store", "migrations")
SQL_DRIVERS = ("sqlalchemy", "psycopg", "alembic")
# A use-case passes the open transaction on, so it may name its type, and nothing else of SQL.
TRANSACTION_TYPE = "sqlalchemy.ext.asyncio.AsyncConnection"
# `modelstead up` is to services/local what `__main__` is to a service. Which roots TLS has is told to OpenSSL and to
# gRPC by variables of theirs, whoever calls.
ENVIRONMENT_READERS = frozenset({"services.local.commands", "modelstead.trust"})


@dataclass(frozen=True)
class Module:
    """One source file under its dotted name, as `services.tracking.runs.store`."""

    name: str
    text: str = field(repr=False)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def layer(self) -> str:
        """`store` of `services.tracking.runs.store`; anything under a folder `migrations` is `migrations`."""
        parts = self.name.split(".")
        if self.service in WITHOUT_SLICES and parts[-1] not in ("__main__", "settings"):
            return ""
        return "migrations" if "migrations" in parts else parts[-1]

    @property
    def service(self) -> str | None:
        """`tracking` of `services.tracking.runs.store`; None outside services/."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "services" and len(parts) > 1 else None

    @cached_property
    def imports(self) -> frozenset[str]:
        """Everything imported anywhere in the module, as full names: `from a import b` is `a.b`."""
        return frozenset(_imported(self.tree))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from (f"{origin}.{alias.name}" for alias in node.names)


Sources = Mapping[str, Module]
Rule = Callable[[Sources], Iterator[str]]


def services_keep_apart(sources: Sources) -> Iterator[str]:
    """No service imports another, and `common` imports none; the client imports no service."""
    for module in sources.values():
        for name in module.imports:
            parts = name.split(".")
            if parts[0] != "services" or len(parts) < 2 or parts[1] in (module.service, "common"):
                continue
            yield f"{module.name} imports {name}, which belongs to another service"
        if module.service is None and any(_within(name, "services") for name in module.imports):
            yield f"{module.name} imports services, and a client has none"


def layers_point_one_way(sources: Sources) -> Iterator[str]:
    """model ← tables ← store ← service ← servicer ← __main__, also by way of modules of other names."""
    for module in sources.values():
        if module.layer not in LAYERS:
            continue
        for name in _targets(module, sources):
            if _rank(name, sources) > LAYERS.index(module.layer):
                yield f"{module.name} imports {name}, which is a layer above it"


def only_stores_speak_sql(sources: Sources) -> Iterator[str]:
    """SQLAlchemy and psycopg are for stores, tables, migrations and those parts of `common` that serve them."""
    for module in sources.values():
        serves_stores = module.service == "common" and not _within(module.name, "services.common.rpc")
        if module.layer in SQL_LAYERS or serves_stores:
            continue
        allowed = {TRANSACTION_TYPE} if module.layer == "service" else set()
        for name in module.imports - allowed:
            if any(_within(name, driver) for driver in SQL_DRIVERS):
                yield f"{module.name} imports {name}, and only stores speak SQL"


def the_gateway_loads_no_sql(sources: Sources) -> Iterator[str]:
    """The gateway has no database: by no way does it load what costs 20 MB and half a second."""
    gateway = [module for module in sources.values() if module.service == "gateway"]
    loaded = {module.name: module.name for module in gateway}
    waiting = list(loaded)
    while waiting:
        module = sources[waiting.pop()]
        for name in sorted(module.imports):
            if any(_within(name, driver) for driver in SQL_DRIVERS):
                yield f"{loaded[module.name]} imports {name}"
            target = _resolve(name, sources)
            if target is not None and target not in loaded:
                loaded[target] = f"{loaded[module.name]} → {target}"
                waiting.append(target)


def only_servicers_speak_grpc(sources: Sources) -> Iterator[str]:
    """Models, stores and use-cases know neither gRPC nor generated code."""
    for module in sources.values():
        if module.layer not in BELOW_GRPC or module.service is None:
            continue
        for name in module.imports:
            if any(_within(name, wire) for wire in ("grpc", "modelstead", "google")):
                yield f"{module.name} imports {name}, and only servicers speak gRPC"


def servicers_only_translate(sources: Sources) -> Iterator[str]:
    """An RPC's method decodes, makes one call and encodes: it decides nothing and catches nothing."""
    for module in sources.values():
        if module.layer != "servicer":
            continue
        classes = (node for node in module.tree.body if isinstance(node, ast.ClassDef))
        for node in (inner for servicer in classes for inner in ast.walk(servicer)):
            if isinstance(node, ast.If | ast.Try | ast.TryStar):
                yield f"{module.name}:{node.lineno} decides or catches, which is for the use-case"


def only_main_reads_the_environment(sources: Sources) -> Iterator[str]:
    """`os.environ` is read in `__main__`; everything else gets settings."""
    for module in sources.values():
        if module.layer in ("__main__", "settings") or module.name in ENVIRONMENT_READERS:
            continue
        used = {ast.unparse(node) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
        for name in sorted((used | module.imports) & {"os.environ", "os.environb", "os.getenv", "os.putenv"}):
            yield f"{module.name} uses {name}, which is for __main__ and settings"


def sizes_stay_small(sources: Sources) -> Iterator[str]:
    """No function is over 70 lines, its signature and docstring included, and no module over 400."""
    for module in sources.values():
        if (lines := len(module.text.splitlines())) > MODULE_LINES_MAX:
            yield f"{module.name} has {lines} lines"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    yield f"{module.name}.{node.name} has {lines} lines"


RULES: tuple[Rule, ...] = (
    services_keep_apart,
    layers_point_one_way,
    only_stores_speak_sql,
    the_gateway_loads_no_sql,
    only_servicers_speak_grpc,
    servicers_only_translate,
    only_main_reads_the_environment,
    sizes_stay_small,
)


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _targets(module: Module, sources: Sources) -> set[str]:
    """The modules among `sources` of the same service that a module imports."""
    found = {_resolve(name, sources) for name in module.imports if _within(name, f"services.{module.service}")}
    return {name for name in found if name is not None and name != module.name}


def _resolve(name: str, sources: Sources) -> str | None:
    """The module that an imported name is, or is in."""
    while name and name not in sources:
        name = name.rpartition(".")[0]
    return name or None


def _rank(name: str, sources: Sources, seen: frozenset[str] = frozenset()) -> int:
    module = sources[name]
    if module.layer in LAYERS:
        return LAYERS.index(module.layer)
    deeper = _targets(module, sources) - seen
    return max((_rank(target, sources, seen | {name}) for target in deeper), default=0)


def _parse(texts: Mapping[str, str]) -> Sources:
    return {name: Module(name, text) for name, text in texts.items()}


def _repository(*folders: str) -> Sources:
    texts = {}
    for folder in folders:
        root = REPOSITORY / folder
        for path in root.rglob("*.py"):
            if not path.stem.endswith(("_pb2", "_pb2_grpc")):
                parts = path.relative_to(root.parent).with_suffix("").parts
                texts[".".join(part for part in parts if part != "__init__")] = path.read_text(encoding="utf-8")
    return _parse(texts)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_keeps_rule(rule: Rule) -> None:
    sources = _repository("services", "client/modelstead")

    violations = sorted(rule(sources))

    assert not violations, "\n".join(violations)


def test_repository_sources_are_found() -> None:
    sources = _repository("services", "client/modelstead")

    assert {"services.common.errors", "services.tracking.tables", "modelstead"} <= set(sources)


BAD: list[tuple[Rule, dict[str, str], str]] = [
    (
        services_keep_apart,
        {"services.gateway.routes": "from services.tracking import settings"},
        "services.gateway.routes imports services.tracking.settings",
    ),
    (
        services_keep_apart,
        {"services.common.pages": "def load():\n    import services.registry.tables"},
        "services.common.pages imports services.registry.tables",
    ),
    (services_keep_apart, {"modelstead.sdk": "from services.common import codec"}, "a client has none"),
    (
        layers_point_one_way,
        {"services.x.runs.model": "from services.x.runs import store", "services.x.runs.store": ""},
        "services.x.runs.model imports services.x.runs.store",
    ),
    (
        layers_point_one_way,
        {
            "services.x.runs.store": "from services.x.tags.service import Tags",
            "services.x.tags.service": "class Tags: ...",
        },
        "services.x.runs.store imports services.x.tags.service",
    ),
    (
        layers_point_one_way,
        {
            "services.x.runs.model": "from services.x import names",
            "services.x.names": "from services.x.runs import servicer",
            "services.x.runs.servicer": "",
        },
        "services.x.runs.model imports services.x.names",
    ),
    (
        layers_point_one_way,
        {"services.x.runs.servicer": "import services.x.__main__", "services.x.__main__": ""},
        "services.x.runs.servicer imports services.x.__main__",
    ),
    (only_stores_speak_sql, {"services.x.runs.service": "from sqlalchemy import select"}, "imports sqlalchemy.select"),
    (only_stores_speak_sql, {"services.x.runs.model": "import psycopg"}, "imports psycopg"),
    (
        only_stores_speak_sql,
        {"services.x.runs.model": "from sqlalchemy.ext.asyncio import AsyncConnection"},
        "AsyncConnection",
    ),
    (only_stores_speak_sql, {"services.common.rpc.checks": "import sqlalchemy as sa"}, "services.common.rpc.checks"),
    (
        the_gateway_loads_no_sql,
        {
            "services.gateway.pages": "from services.common.program import run",
            "services.common.program": "from services.common import database",
            "services.common.database": "import psycopg",
        },
        "services.gateway.pages → services.common.program → services.common.database imports psycopg",
    ),
    (only_servicers_speak_grpc, {"services.x.runs.service": "import grpc.aio"}, "imports grpc.aio"),
    (
        only_servicers_speak_grpc,
        {"services.x.runs.store": "from modelstead.tracking.v1 import runs_pb2 as pb"},
        "imports modelstead.tracking.v1.runs_pb2",
    ),
    (
        servicers_only_translate,
        {"services.x.runs.servicer": "class R:\n    def Get(self, request):\n        if request.id: return 1"},
        "services.x.runs.servicer:3",
    ),
    (only_main_reads_the_environment, {"services.x.runs.model": "import os\nos.environ['A']"}, "uses os.environ"),
    (only_main_reads_the_environment, {"services.common.logs": "from os import getenv"}, "uses os.getenv"),
    (sizes_stay_small, {"services.x.names": "def long():\n" + "    pass\n" * 70}, "services.x.names.long has 71"),
    (sizes_stay_small, {"services.x.names": "x = 1\n" * 401}, "services.x.names has 401"),
]


@pytest.mark.parametrize(("rule", "texts", "complaint"), BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_rule_bites(rule: Rule, texts: dict[str, str], complaint: str) -> None:
    violations = list(rule(_parse(texts)))

    assert len(violations) == 1
    assert complaint in violations[0]


def test_every_rule_has_a_case_that_it_bites() -> None:
    assert {rule for rule, _, _ in BAD} == set(RULES)


def test_a_clean_slice_passes_every_rule() -> None:
    sources = _parse(
        {
            "services.x.tables": "import sqlalchemy as sa",
            "services.x.runs.model": "from services.common.errors import NotFound",
            "services.x.runs.store": "from sqlalchemy import select\nfrom services.x import tables",
            "services.x.runs.service": (
                "from sqlalchemy.ext.asyncio import AsyncConnection\nfrom services.x.runs import model, store"
            ),
            "services.x.runs.servicer": "from services.x.runs.service import Runs\nimport grpc",
            "services.x.__main__": "import os\nfrom services.x.runs.servicer import Runs\nos.environ",
            "services.common.errors": "",
        }
    )

    assert [violation for rule in RULES for violation in rule(sources)] == []
