"""What a load was told to be stored is stored, once."""

import psycopg

from tests.cluster.cluster import Cluster
from tests.cluster.load import POINTS, Report

_RUNS = "SELECT count(*) FROM tracking.runs WHERE run_id = ANY(%s)"
# Points of a run that were stored, equal ones included, which no history shows.
_POINTS = """
    SELECT m.pending_count + (
        SELECT coalesce(sum(c.point_count), 0)
        FROM tracking.metric_chunks AS c
        WHERE c.metric_id = m.metric_id
    )
    FROM tracking.metrics AS m
    WHERE m.run_id = %s
"""


def check(cluster: Cluster, report: Report) -> None:
    """Fail if a run or a batch that was acknowledged is lost, or a batch is stored twice."""
    with psycopg.connect(cluster.database_url()) as connection:
        row = connection.execute(_RUNS, [report.runs]).fetchone()
        assert row == (len(set(report.runs)),), "a run is lost"
        for run_id, count in report.batches.items():
            row = connection.execute(_POINTS, [run_id]).fetchone()
            stored = int(row[0]) // POINTS if row else 0
            # One more may be stored whose answer did not come.
            assert stored in (count, count + 1), f"{stored} batches of {run_id}, not {count}"
    print(f"{len(report.runs)} runs and {sum(report.batches.values())} batches were acknowledged, and are there")
