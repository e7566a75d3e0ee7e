"""MLflow's tracking store for `modelstead://` and `modelstead+tls://`: what is logged goes through the spool, all else
as MLflow's own client sends it, to the gateway. MLflow finds it by an entry point; nothing else imports it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from mlflow.entities import LifecycleStage, Metric, Param, RunData, RunInfo, RunStatus, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.protos.service_pb2 import GetRun
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import http_request, verify_rest_response

from modelstead.mlflow_plugin import addresses, settings
from modelstead.runs.process import CURRENT
from modelstead.runs.run import Run, start_message
from modelstead.spool.writer import SpoolFull

# How long a read waits for what was logged before it, after a wait of the whole bound has been in vain.
_SHORT_WAIT_S = 0.5
# How long the server may think about a run until it is taken to be away.
_ANSWER_S_MAX = 5.0
_RUNS_MAX = 1000
_PARAMS_MAX = 10_000
_STATUSES = {RunStatus.FINISHED: "FINISHED", RunStatus.FAILED: "FAILED", RunStatus.KILLED: "KILLED"}

_log = logging.getLogger("modelstead")


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> "TrackingStore":
    """Return the store of a URI; the entry points' object."""
    return TrackingStore(store_uri)


class TrackingStore(RestStore):
    """`log_metric`, `log_param`, `log_batch` and `set_tag` return before the server has what they log. Any other call
    first waits, for `exit_timeout_s` at most, until it has, so that reads see one's own writes.

    In a job of several processes that has a launch id, the runs that they create in an experiment are one: the first
    one of each process, the second one of each, and so on.

    Metrics of a logged model or of a dataset, which the columns of ingest do not name, are sent as MLflow sends them.
    """

    def __init__(self, store_uri: str) -> None:
        self._creds = partial(get_default_host_creds, addresses.rest(store_uri))
        super().__init__(self._creds)
        self._settings = settings.load(store_uri, self._creds())
        self._recorder = CURRENT.recorder(self._settings)
        self._runs: dict[str, Run] = {}
        self._params: dict[str, dict[str, str]] = {}
        self._infos: dict[str, RunInfo] = {}
        self._launched: set[str] = set()
        self._lock = threading.Lock()
        self._is_behind = False
        # By thread.
        self._of_thread = threading.local()

    def log_metric(self, run_id: str, metric: Metric) -> None:
        self.log_batch(run_id, [metric], [], [])

    def log_param(self, run_id: str, param: Param) -> None:
        self.log_batch(run_id, [], [param], [])

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        self.log_batch(run_id, [], [], [tag])

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        """Log to a run. Raises MlflowException for what the server would refuse, as far as that is known here."""
        run = self._run(run_id)
        others = [metric for metric in metrics if _is_of_model(metric)]
        if others:
            super().log_batch(run_id, others, [], [])
        if params:
            self._remember(run_id, params)
            _refused(partial(run.log_params, {param.key: param.value for param in params}))
        if tags:
            _refused(partial(run.set_tags, {tag.key: tag.value for tag in tags}))
        for step, timestamp, values in _calls(metrics, others):
            _refused(partial(run.log, values, step, timestamp))

    def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: Any, run_name: str) -> MlflowRun:
        if self._settings.launch_id:
            return self._create_launched(experiment_id, user_id, start_time, tags or [], run_name)
        run = super().create_run(experiment_id, user_id, start_time, tags, run_name)
        self._infos[run.info.run_id] = run.info
        self._know(run.info.run_id)
        return run

    def _create_launched(
        self, experiment_id: str, user_id: str, start_time: int, tags: Sequence[RunTag], run_name: str
    ) -> MlflowRun:
        """Begin the run that the other processes of the launch begin as well, also while the server is away."""
        run_id = CURRENT.launched(self._settings.launch_id, experiment=f"number {experiment_id}")
        run = self._know(run_id)
        start = start_message(experiment_id=experiment_id, run_name=run_name)
        if start_time:
            start.start_time = start_time
        if user_id:
            start.user_id = user_id
        run.begin(start)
        if tags:
            _refused(partial(run.set_tags, {tag.key: tag.value for tag in tags}))
        self._launched.add(run_id)
        found = self._launched_at_server(run_id)
        if found is None:
            info = self._info(
                run_id, "RUNNING", experiment_id=experiment_id, start_time=start.start_time, run_name=run_name
            )
            found = MlflowRun(info, RunData(tags=list(tags)))
        self._infos[run_id] = found.info
        return found

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        """End a run once the server has what was logged to it. While the server is away, the end is logged as well, and
        so is that a rank has done its part.
        """
        # Where nobody wanted it printed, nobody has asked for the run.
        self._of_thread.ends_run = False
        status = _STATUSES.get(run_status) if run_status is not None else None
        if status is None:
            return super().update_run_info(run_id, run_status, end_time, run_name)
        is_shared = run_id in self._launched
        if not is_shared and self._get_soon(run_id):
            if self._settings.rank is not None:
                self._end(run_id, status, end_time)
            return super().update_run_info(run_id, run_status, end_time, run_name)
        if run_name:
            self._know(run_id).set_tags({"mlflow.runName": run_name})
        self._end(run_id, status, end_time)
        found = self._launched_at_server(run_id) if is_shared else None
        return found.info if found else self._info(run_id, status, end_time=end_time, run_name=run_name)

    def shut_down_async_logging(self) -> None:
        super().shut_down_async_logging()
        self._of_thread.ends_run = True

    def get_run(self, run_id: str) -> MlflowRun:
        # MLflow ends a run in three steps: no more asynchronous logging, then this, to print where the run is, then
        # `update_run_info`, which has to be reached also while the server is away.
        if not getattr(self._of_thread, "ends_run", False):
            return super().get_run(run_id)
        self._of_thread.ends_run = False
        return self._get_soon(run_id) or MlflowRun(self._info(run_id, "RUNNING"), RunData())

    def _end(self, run_id: str, status: str, end_time: int | None) -> None:
        self._know(run_id).end(status, end_time=end_time)
        # If it is taken up again, it can end again.
        self._runs.pop(run_id, None)
        self._launched.discard(run_id)

    def _info(
        self,
        run_id: str,
        status: str,
        *,
        experiment_id: str = "",
        start_time: int = 0,
        end_time: int | None = None,
        run_name: str | None = None,
    ) -> RunInfo:
        """Return what is known here of a run, as the server will have it."""
        info = self._infos.get(run_id)
        return RunInfo(
            run_id=run_id,
            experiment_id=info.experiment_id if info else experiment_id,
            user_id=info.user_id if info else "",
            status=status,
            start_time=info.start_time if info else start_time,
            end_time=end_time,
            lifecycle_stage=LifecycleStage.ACTIVE,
            artifact_uri=info.artifact_uri if info else None,
            run_name=run_name or (info.run_name if info else None),
        )

    def _get_soon(self, run_id: str) -> MlflowRun | None:
        """Return a run as the server has it after all that was logged; None if the server is away or too busy. Raises
        MlflowException for what it refuses.

        MLflow's own `get_run` goes on for four minutes before it says that nobody answers.
        """
        if not self._is_up_to_date():
            return None
        endpoint, method = self._METHOD_TO_INFO[GetRun]
        try:
            response = http_request(
                self.get_host_creds(),
                endpoint,
                method,
                params={"run_id": run_id},
                max_retries=0,
                timeout=_ANSWER_S_MAX,
                raise_on_status=False,
            )
        except MlflowException:
            return None
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS or response.status_code >= 500:
            return None
        message = GetRun.Response()
        parse_dict(verify_rest_response(response, endpoint).json(), message)
        return MlflowRun.from_proto(message.run)

    def _launched_at_server(self, run_id: str) -> MlflowRun | None:
        """Return a run of a launch as the server has it, if it is there and the server can be asked."""
        try:
            return self._get_soon(run_id)
        except MlflowException as error:
            _log.warning("run %s of a launch cannot be read: %s", run_id, error)
            return None

    def _call_endpoint(self, *arguments: Any, **keywords: Any) -> Any:
        # All that MLflow's store asks the server passes here.
        self._is_up_to_date()
        return super()._call_endpoint(*arguments, **keywords)

    def _is_up_to_date(self) -> bool:
        """Wait until the server has what was logged before. Returns whether it has."""
        if not self._recorder.has_unsent():
            return True
        started = time.monotonic()
        timeout_s = min(_SHORT_WAIT_S, self._settings.exit_timeout_s) if self._is_behind else None
        done = self._recorder.flush(self._settings.exit_timeout_s if timeout_s is None else timeout_s)
        self._is_behind = not done and (self._is_behind or time.monotonic() - started >= _SHORT_WAIT_S)
        return done

    def _run(self, run_id: str) -> Run:
        """Return what logs to a run. Raises MlflowException if there is no such run, or it is deleted."""
        run = self._runs.get(run_id)
        if run is not None:
            return run
        found = self._get_soon(run_id)
        if found:
            info = self._infos[run_id] = found.info
            if info.lifecycle_stage != LifecycleStage.ACTIVE:
                raise MlflowException(
                    f"The run {run_id} must be in the 'active' state. Current state is {info.lifecycle_stage}.",
                    INVALID_PARAMETER_VALUE,
                )
        return self._know(run_id)

    def _know(self, run_id: str) -> Run:
        with self._lock:
            if run_id not in self._runs:
                while len(self._runs) >= _RUNS_MAX:
                    oldest = next(iter(self._runs))
                    self._runs.pop(oldest).leave()
                    self._params.pop(oldest, None)
                    self._infos.pop(oldest, None)
                self._runs[run_id] = Run(self._settings, run_id, strict=True)
                self._runs[run_id].take_part()
            return self._runs[run_id]

    def _remember(self, run_id: str, params: Sequence[Param]) -> None:
        """Refuse another value for a parameter that this process has logged, as MLflow does."""
        with self._lock:
            known = self._params.setdefault(run_id, {})
            for param in params:
                value = str(param.value)
                if known.get(param.key, value) != value:
                    raise MlflowException(
                        f"Changing param values is not allowed. Param with key='{param.key}' was already logged with "
                        f"value='{known[param.key]}' for run ID='{run_id}'. Attempted logging new value '{value}'.",
                        INVALID_PARAMETER_VALUE,
                    )
            if len(known) < _PARAMS_MAX:
                known.update((param.key, str(param.value)) for param in params)


def _is_of_model(metric: Metric) -> bool:
    return bool(metric.model_id or metric.dataset_name or metric.dataset_digest)


def _calls(metrics: Sequence[Metric], others: Sequence[Metric]) -> list[tuple[int, int, dict[str, float]]]:
    """Return metrics, but for `others`, by step and timestamp. A name that comes again there begins another call."""
    calls: list[tuple[int, int, dict[str, float]]] = []
    newest: dict[tuple[int, int], dict[str, float]] = {}
    for metric in metrics:
        if others and _is_of_model(metric):
            continue
        values = newest.get((metric.step, metric.timestamp))
        if values is None or metric.key in values:
            values = newest[metric.step, metric.timestamp] = {}
            calls.append((metric.step, metric.timestamp, values))
        values[metric.key] = metric.value
    return calls


def _refused(call: Callable[[], None]) -> None:
    """Make a call whose mistakes are MLflow's errors."""
    try:
        call()
    except (TypeError, ValueError, SpoolFull) as error:
        raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error
