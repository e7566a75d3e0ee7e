"""What a run of the benchmarks found, as a table for people and as JSON for later comparison."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.measuring import Measurement
from benchmarks.rows import Row
from benchmarks.scale import Scale

_HEAD = ("work", "MLflow", "Modelstead", "ratio", "goal", "met")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row measured. A side is None where it was skipped or failed."""

    row: Row
    mlflow: Measurement | None
    modelstead: Measurement | None
    reference: Measurement | None = None

    @property
    def share(self) -> float | None:
        """Which share of the reference Modelstead reaches."""
        if self.reference is None or self.modelstead is None:
            return None
        return self.modelstead.median / self.reference.median

    @property
    def ratio(self) -> float | None:
        """How many times better Modelstead is than MLflow, whether more or less is better in this row."""
        if self.mlflow is None or self.modelstead is None:
            return None
        better, worse = self.modelstead.median, self.mlflow.median
        if not self.row.unit.more_is_better:
            better, worse = worse, better
        return better / worse if worse else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met. None without a goal, or without a figure that it needs."""
        row = self.row
        parts = [
            (row.limit, self.modelstead and row.limit and self.modelstead.median <= row.limit),
            (row.times_better_min, self.ratio and row.times_better_min and self.ratio >= row.times_better_min),
            (row.share_min, self.share and row.share_min and self.share >= row.share_min),
        ]
        demanded = [holds for goal, holds in parts if goal is not None]
        return all(demanded) if demanded and None not in demanded else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run. `versions` are those of the two systems and of Postgres."""

    began_at: str
    took_s: float
    scale: Scale
    machine: Machine
    load_average_after: float
    versions: dict[str, str]
    results: Sequence[Result]

    def table(self) -> str:
        """Return everything as Markdown: the table, then what its figures depend on."""
        lines = [_HEAD, tuple("---" for _ in _HEAD), *(self._cells(result) for result in self.results)]
        return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", *self._facts()])

    def write(self, folder: Path) -> Path:
        """Write everything, each sample included, to a new file in `folder`, and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.began_at.replace(':', '')}.json"
        content = {name: value for name, value in asdict(self).items() if name != "results"}
        content["results"] = [_plain(result) for result in self.results]
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return file

    def _cells(self, result: Result) -> tuple[str, ...]:
        row = result.row
        return (
            row.work.format(**asdict(self.scale)),
            row.unit.text(result.mlflow.median) if result.mlflow else "–",
            row.unit.text(result.modelstead.median) if result.modelstead else "–",
            f"{result.ratio:.1f} ×" if result.ratio is not None else "–",
            _goal(result),
            {True: "yes", False: "**no**", None: "–"}[result.met],
        )

    def _facts(self) -> list[str]:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        machine = self.machine
        hardware = f"{machine.cores} cores of {machine.processor}, {machine.memory_gb:.0f} GB, {machine.system}"
        load = f"load average {machine.load_average} before and {self.load_average_after} after"
        return [
            f"{versions}; scale `{self.scale.name}`, {self.began_at}, took {self.took_s / 60:.0f} min.",
            f"{hardware}, Python {machine.python}, {load}.",
            f"Most that the load client took of these cores: {self._most('client_cores')}.",
            f"Most that programs without a part in this took: {self._most('foreign_cores')}.",
        ]

    def _most(self, field: str) -> str:
        shares = [
            (getattr(side, field), f"{result.row.name}, {name}")
            for result in self.results
            for name, side in (("MLflow", result.mlflow), ("Modelstead", result.modelstead))
            if side is not None
        ]
        share, where = max(shares, default=(0.0, "nothing measured"))
        return f"{share:.2f} ({where})"


def _goal(result: Result) -> str:
    row, parts = result.row, []
    if row.limit is not None:
        parts.append(f"≤ {row.limit:g} {row.unit.name}")
    if row.times_better_min is not None:
        parts.append(f"≥ {row.times_better_min:g} ×")
    if row.share_min is not None:
        direct = f" of {row.unit.text(result.reference.median)} direct" if result.reference else " of direct"
        found = f": {result.share:.0%}" if result.share is not None else ""
        parts.append(f"≥ {row.share_min:.0%}{direct}{found}")
    return ", ".join(parts) or "–"


def _plain(result: Result) -> dict[str, Any]:
    return {
        "name": result.row.name,
        "unit": result.row.unit.name,
        "mlflow": _side(result.mlflow),
        "modelstead": _side(result.modelstead),
        "reference": _side(result.reference),
        "ratio": result.ratio,
        "goal": _goal(result),
        "met": result.met,
    }


def _side(measurement: Measurement | None) -> dict[str, Any] | None:
    return {"median": measurement.median, **asdict(measurement)} if measurement else None
