"""Sets of runs to search, whose answers read as words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.compat import factories
from tests.compat.rest import Json, Rest


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The runs of one experiment by label; labels are single letters, so that an answer reads as a word."""

    experiment_id: str
    runs: dict[str, str]

    def filled(self, clause: str) -> str:
        """The clause with `{a}` replaced by the id of run a."""
        for label, run_id in self.runs.items():
            clause = clause.replace("{" + label + "}", run_id)
        return clause

    def word(self, answer: Json) -> str:
        by_id = {run_id: label for label, run_id in self.runs.items()}
        return "".join(by_id[run["info"]["run_id"]] for run in answer.get("runs", []))


def new_corpus(rest: Rest, runs: dict[str, Json]) -> Corpus:
    """Each run's `metrics`, `params` and `tags` are logged; its other fields are given at creation."""
    experiment_id = factories.new_experiment(rest)
    ids = {}
    for label, fields in runs.items():
        logged = {name: fields.get(name, {}) for name in ("metrics", "params", "tags")}
        ids[label] = factories.new_run(
            rest, experiment_id, **{name: value for name, value in fields.items() if name not in logged}
        )
        metrics = [factories.metric(key, value) for key, value in logged["metrics"].items()]
        factories.log(rest, ids[label], metrics=metrics, params=logged["params"], tags=logged["tags"])
    return Corpus(experiment_id=experiment_id, runs=ids)


Search = Callable[..., str]


def searcher(rest: Rest, corpus: Corpus) -> Search:
    def search(**query: Any) -> str:
        return corpus.word(rest.post("runs/search", experiment_ids=[corpus.experiment_id], **query))

    return search
