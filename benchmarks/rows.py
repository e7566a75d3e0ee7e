"""The rows of the table, in its order: what each measures, in which unit, and what is hoped for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from benchmarks import ingest, lookups, ranks, resolver, transfers, workloads
from benchmarks.measuring import Measurement
from benchmarks.scale import Scale
from benchmarks.scene import Scene
from tests.s3 import S3


@dataclass(frozen=True, slots=True)
class Unit:
    """How a figure is written, and whether a greater one is better."""

    name: str
    more_is_better: bool = False
    decimals: int = 0

    def text(self, value: float) -> str:
        return f"{value:,.{self.decimals}f} {self.name}"


POINTS_PER_S = Unit("points/s", more_is_better=True)
PER_S = Unit("/s", more_is_better=True)
MS = Unit("ms", decimals=1)
SECONDS = Unit("s", decimals=2)
US = Unit("µs", decimals=1)
ECHOES = Unit("× an empty call", decimals=2)
MB = Unit("MB")
BYTES = Unit("bytes", decimals=1)
MB_PER_S = Unit("MB/s", more_is_better=True)
FILES_PER_S = Unit("files/s", more_is_better=True)


class When(Enum):
    """When a row is measured. COLD rows start the system themselves, FRESH ones want one that has done nothing yet."""

    COLD = 0
    FRESH = 1
    LOADED = 2
    LAST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`measure` is None for the cold start, which has no running system to work on.

    A goal is to be so many times better than MLflow in the same run, to stay below a limit in the row's unit, or to
    reach a share of what `reference` measures without either system.
    """

    name: str
    work: str
    unit: Unit
    measure: Callable[[Scene], Awaitable[Measurement]] | None
    when: When = When.LOADED
    # Whether it is of something that MLflow does not have.
    is_ours: bool = False
    times_better_min: float | None = None
    limit: float | None = None
    reference: Callable[[S3, Scale], Measurement] | None = None
    share_min: float | None = None


ROWS = (
    Row(
        name="log-batch",
        work="`log-batch` of 1,000 metrics, 8 clients",
        unit=POINTS_PER_S,
        measure=workloads.log_batch,
        times_better_min=30,
    ),
    Row(
        name="ingest",
        work="the same points by 8 streams over gRPC (MLflow: `log-batch`)",
        unit=POINTS_PER_S,
        measure=ingest.ingest,
        times_better_min=100,
    ),
    Row(
        name="log-metric",
        work="single `log-metric`, 32 clients",
        unit=PER_S,
        measure=workloads.log_metric,
        times_better_min=10,
    ),
    Row(
        name="create-end",
        work="create run + end run, one client",
        unit=PER_S,
        measure=workloads.create_and_end,
        times_better_min=4,
    ),
    *(
        Row(
            name=f"search-{kind}{suffix}",
            work=f"search of {{runs:,}} runs, {kind} by metric, {limit:,} results",
            unit=MS,
            measure=partial(measure, limit=limit),
            times_better_min=times,
        )
        for limit, suffix, times in ((1000, "", 10), (100, "-100", None))
        for kind, measure in (("filter", workloads.search_filter), ("order", workloads.search_order))
    ),
    Row(
        name="first-page",
        work="first page of {runs:,} runs in the web UI",
        unit=MS,
        measure=workloads.first_page,
        limit=300,
    ),
    Row(
        name="history",
        work="history of one metric with {points:,} points, one call",
        unit=SECONDS,
        measure=workloads.history,
        times_better_min=20,
    ),
    Row(
        name="read-history",
        work="the same over gRPC, as packed columns (MLflow: the same over REST)",
        unit=SECONDS,
        measure=ingest.read_history,
        limit=0.3,
    ),
    Row(
        name="history-paged",
        work="the same, paged by 25,000",
        unit=SECONDS,
        measure=workloads.history_paged,
    ),
    Row(
        name="bulk-interval",
        work="bulk interval of that metric, 320 points",
        unit=MS,
        measure=workloads.bulk_interval,
        times_better_min=20,
    ),
    Row(
        name="long-sample",
        work="the same of a metric with {long_points:,} points",
        unit=MS,
        measure=ingest.long_sample,
        is_ours=True,
        limit=50,
    ),
    Row(
        name="upload",
        work="a file of {file_bytes:,} bytes through the gateway, up",
        unit=MB_PER_S,
        measure=transfers.upload,
        times_better_min=1,
        reference=transfers.direct_upload,
        share_min=0.85,
    ),
    Row(
        name="download",
        work="the same, down",
        unit=MB_PER_S,
        measure=transfers.download,
        times_better_min=1,
        reference=transfers.direct_download,
        share_min=0.85,
    ),
    Row(
        name="presigned-upload",
        work="the same by the MLflow client with presigned URLs, up",
        unit=MB_PER_S,
        measure=transfers.presigned_upload,
        reference=transfers.direct_upload,
        share_min=0.95,
    ),
    Row(
        name="presigned-download",
        work="the same by the MLflow client with presigned URLs, down",
        unit=MB_PER_S,
        measure=transfers.presigned_download,
        reference=transfers.direct_download,
        share_min=0.95,
    ),
    Row(
        name="small-uploads",
        work="1,000 files of 4 KB, 8 clients, up",
        unit=FILES_PER_S,
        measure=transfers.small_uploads,
        times_better_min=2,
    ),
    Row(
        name="small-downloads",
        work="1,000 files of 4 KB, 8 clients, down",
        unit=FILES_PER_S,
        measure=transfers.small_downloads,
        times_better_min=2,
    ),
    Row(
        name="by-alias",
        work="version by alias through REST, 16 clients",
        unit=PER_S,
        measure=lookups.by_alias,
        times_better_min=10,
    ),
    Row(
        name="resolve",
        work="`ResolveModel` over gRPC, one client",
        unit=US,
        measure=partial(lookups.resolve, in_echoes=False),
        is_ours=True,
    ),
    Row(
        name="resolve-echoes",
        work="the same, beside an empty call to a server that does nothing",
        unit=ECHOES,
        measure=partial(lookups.resolve, in_echoes=True),
        is_ours=True,
        limit=1.2,
    ),
    *(
        Row(
            name=f"flip-{name}",
            work=f"an alias' change seen by 1,000 watchers, {name}",
            unit=MS,
            measure=partial(lookups.flip_seen, quantile=quantile),
            is_ours=True,
            limit=limit,
        )
        for name, quantile, limit in (("p50", 0.50, None), ("p99", 0.99, 250))
    ),
    Row(
        name="search-models",
        work="search of {models:,} models by tag",
        unit=MS,
        measure=lookups.search_by_tag,
        limit=50,
    ),
    Row(
        name="transfer-memory",
        work="most that a service grows during eight transfers of {memory_file_bytes:,} bytes",
        unit=MB,
        measure=transfers.transfer_memory,
        when=When.LAST,
        limit=64,
    ),
    Row(
        name="stored-bytes",
        work="bytes of the tables of metrics for each point, indexes and latest points included",
        unit=BYTES,
        measure=ingest.stored_bytes,
        when=When.LAST,
        limit=12,
    ),
    Row(
        name="memory",
        work="whole platform idle, Postgres aside",
        unit=MB,
        measure=workloads.idle_memory,
        when=When.FRESH,
        limit=300,
    ),
    Row(
        name="memory-after",
        work="the same after all of the above",
        unit=MB,
        measure=workloads.memory_afterwards,
        when=When.LAST,
    ),
    # After the rows on what is stored and held, in which their points would count.
    Row(
        name="ranks-p99",
        work="{ranks:,} ranks of one run, a batch of 20 metrics a second each for {ranks_s:.0f} s: acknowledged, p99",
        unit=MS,
        measure=partial(ranks.acknowledged, quantile=0.99),
        when=When.LAST,
        is_ours=True,
        limit=1000,
    ),
    Row(
        name="ranks-memory",
        work="the same: most that tracking grows after the first seconds",
        unit=MB,
        measure=ranks.growth,
        when=When.LAST,
        is_ours=True,
        limit=64,
    ),
    Row(
        name="resolver-get",
        work="which version `@champion` is, asked by an inference service (MLflow: REST)",
        unit=US,
        measure=resolver.get,
        limit=5,
    ),
    Row(
        name="cold-start",
        work="cold start to first answer (Modelstead: `initdb` included)",
        unit=SECONDS,
        measure=None,
        when=When.COLD,
        limit=4,
    ),
)
