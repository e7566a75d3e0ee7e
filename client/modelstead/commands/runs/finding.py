"""Finds runs and experiments by what people call them."""

import re

from modelstead.commands import pages
from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.rest import Json, Rest, RestError

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_RUN_ID_BEGINNING = re.compile(r"[0-9a-f]{4,31}")
_EXPERIMENT_ID = re.compile(r"[0-9]{1,19}")
_EXPERIMENTS_MAX = 50_000
# Enough to tell that there are several, and which.
_MATCHES_MAX = 5


def find_experiment(rest: Rest, given: str) -> Json:
    """Return an experiment by its id or else its name. Raises CommandError."""
    for path, query in _readings(given):
        try:
            experiment: Json = rest.get(path, query)["experiment"]
        except RestError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
        else:
            return experiment
    raise CommandError(
        f"There is no experiment {given!r}; `modelstead runs ls` without one lists the runs of all.", Exit.NOT_FOUND
    )


def list_experiments(rest: Rest) -> list[Json]:
    """Return the experiments that the caller may read and that are not deleted. Raises CommandError."""
    answer = pages.collect(
        lambda page: rest.get("experiments/search", page), "experiments", limit=_EXPERIMENTS_MAX, page_token=None
    )
    if "next_page_token" in answer:
        raise CommandError(f"There are over {_EXPERIMENTS_MAX} experiments; name one of them.", Exit.USAGE)
    found: list[Json] = answer["experiments"]
    return found


def find_run(rest: Rest, given: str, experiment: str | None) -> Json:
    """Return a run by its id, the beginning of its id, or its name; of one experiment if given. Raises CommandError."""
    if _RUN_ID.fullmatch(given):
        run: Json = rest.get("runs/get", {"run_id": given})["run"]
        return run
    experiments = [find_experiment(rest, experiment)] if experiment else list_experiments(rest)
    where = [one["experiment_id"] for one in experiments]
    found = _match(rest, where, given)
    if not found:
        place = f" in experiment {experiment}" if experiment else ""
        raise CommandError(f"There is no run {given!r}{place}; `modelstead runs ls` lists runs.", Exit.NOT_FOUND)
    if len(found) > 1:
        several = f"{_MATCHES_MAX} runs or more" if len(found) == _MATCHES_MAX else f"{len(found)} runs"
        ids = ", ".join(one["info"]["run_id"] for one in found)
        raise CommandError(f"{given!r} may be {several}; say which by its id: {ids}.", Exit.USAGE)
    return found[0]


def _readings(given: str) -> list[tuple[str, dict[str, str]]]:
    by_name = ("experiments/get-by-name", {"experiment_name": given})
    if not _EXPERIMENT_ID.fullmatch(given):
        return [by_name]
    # A name may be a number too.
    return [("experiments/get", {"experiment_id": given}), by_name]


def _match(rest: Rest, experiment_ids: list[str], given: str) -> list[Json]:
    """Return the runs whose id begins so or, if there is none, whose name is that."""
    filters = [f"attributes.run_id LIKE '{given}%'"] if _RUN_ID_BEGINNING.fullmatch(given) else []
    quote = next((sign for sign in "'\"" if sign not in given), None)
    if quote:
        filters.append(f"attributes.run_name = {quote}{given}{quote}")
    for filter_text in filters:
        body = {"experiment_ids": experiment_ids, "filter": filter_text, "max_results": _MATCHES_MAX}
        found: list[Json] = rest.post("runs/search", body, may_repeat=True).get("runs", [])
        if found:
            return found
    return []
