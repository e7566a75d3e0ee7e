"""A primary is killed under load, its standby promoted by the runbook, and the address moved (R9)."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from services.local import waiting
from services.local.cluster import DATABASE
from tests.faults.proxy import Proxy
from tests.long_form import IS_LONG
from tests.runbooks.load import Load, lost_points
from tests.runbooks.platform import TEST_TIMEOUT_S, TIMEOUT_S, Platform
from tests.runbooks.servers import Server
from tests.stack import free_ports

pytestmark = pytest.mark.timeout(TEST_TIMEOUT_S)
_RUNBOOK = Path(__file__).parents[2] / "deploy" / "runbooks" / "failover.py"
_ROUNDS = 10 if IS_LONG else 1
_WRITES_AGAIN_S = 10.0
_NAMES = "ANY 1 (standby)"
_READERS = 10


@contextmanager
def _running(path: Path) -> Iterator[tuple[Server, Proxy, Platform]]:
    """Give a primary, the proxy that leads to it, and a platform that knows only that."""
    with ExitStack() as stack:
        primary = Server(path / "primary", name="standby").start()
        stack.callback(primary.close)
        proxy = stack.enter_context(Proxy(primary.address))
        platform = Platform(path / "platform", MODELSTEAD_DATABASE_URL=primary.url(proxy.address))
        yield primary, proxy, stack.enter_context(platform)


def _follow(primary: Server, path: Path) -> Server:
    """Return a standby for which commits wait."""
    standby = Server(path, follows=primary, name="standby").start()
    primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{_NAMES}'", "SELECT pg_reload_conf()")
    primary.await_standby("quorum")
    standby.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{_NAMES}'", "SELECT pg_reload_conf()")
    # It is told to read its configuration, and has not read it yet.
    is_read = "SHOW synchronous_standby_names"
    assert waiting.until(lambda: standby.value(is_read) == _NAMES, timeout_s=TIMEOUT_S)
    return standby


def _runbook(primary: Server, standby: Server, path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return _runbook_of(primary.url(), standby.url(), path, *options)


def _runbook_of(primary: str, standby: str, path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    words = []
    for name, url in (("primary", primary), ("standby", standby)):
        file = path / f"{name}-url"
        file.touch(mode=0o600)
        file.write_text(url)
        words += [f"--{name}-url-file", str(file)]
    return subprocess.run(
        [sys.executable, _RUNBOOK, *words, *options], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )


@pytest.mark.alone
def test_failover_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with _running(tmp_path) as (primary, proxy, platform), ExitStack() as closing:
        longest_s = 0.0
        with Load(platform.url, writers=3) as load:
            for number in range(_ROUNDS):
                standby = _follow(primary, tmp_path / f"standby-{number}")
                closing.callback(standby.close)
                refused = _runbook(primary, standby, tmp_path)
                _await_more(load, 50)
                primary.kill()
                proxy.cut()
                done = _runbook(primary, standby, tmp_path)
                promoted = time.monotonic()
                assert done.returncode == 0, done.stderr
                proxy.lead_to(standby.address)
                proxy.cut()
                _await_more(load, 1)
                longest_s = max(longest_s, time.monotonic() - promoted)
                again = _runbook(primary, standby, tmp_path)
                primary = standby
            _await_more(load, 50)
        lost = lost_points(platform.url, load.points)

    print(f"{_ROUNDS} failovers: {load.count} acknowledged, {len(lost)} lost, writes again after {longest_s:.2f} s")
    assert lost == []
    assert longest_s <= _WRITES_AGAIN_S
    assert refused.returncode == 1
    assert "Stop it first" in refused.stderr
    assert again.returncode == 0
    assert "promoted already" in again.stdout
    assert "set synchronous_standby_names again" in again.stdout
    assert [failure for failure in load.failed if not failure.may_come_again] == []


def test_a_standby_that_commits_did_not_wait_for_is_promoted_only_when_told(tmp_path: Path) -> None:
    with _running(tmp_path) as (primary, proxy, platform), ExitStack() as closing:
        standby = Server(tmp_path / "standby", follows=primary, name="standby").start()
        closing.callback(standby.close)
        primary.await_standby("async")
        with Load(platform.url, writers=3) as load:
            _await_more(load, 50)
            primary.kill()
            acknowledged = load.count
            refused = _runbook(primary, standby, tmp_path)
            done = _runbook(primary, standby, tmp_path, "--may-lose")
            proxy.lead_to(standby.address)
            proxy.cut()
            _await_more(load, 50)
        lost = lost_points(platform.url, load.points)

    print(f"an asynchronous standby: {acknowledged} acknowledged, {len(lost)} lost")
    assert refused.returncode == 1
    assert "--may-lose" in refused.stderr
    assert done.returncode == 0, done.stderr
    assert "rollout restart deployment/registry" in done.stdout


def test_a_primary_that_lets_nobody_in_is_not_gone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        primary = Server(tmp_path / "primary", name="standby").start()
        stack.callback(primary.close)
        locked = primary.url().replace(primary.password, "wrong")

        refused = _runbook_of(locked, primary.url(), tmp_path)
        unclear = _runbook_of("postgresql://x/y?target_session_attrs=never", primary.url(), tmp_path)

    assert (refused.returncode, unclear.returncode) == (1, 1)
    assert "the primary answers, even if it lets nobody in" in refused.stderr
    assert "libpq does not take it" in unclear.stderr


def test_a_pair_that_is_whole_again_keeps_waiting_when_it_is_run_once_more(tmp_path: Path) -> None:
    services = tmp_path / "services-url"
    with ExitStack() as stack:
        primary = Server(tmp_path / "primary", name="standby").start()
        stack.callback(primary.close)
        stack.callback(_follow(primary, tmp_path / "standby").close)
        primary.execute("CREATE ROLE caller LOGIN PASSWORD 'p'", f"GRANT CONNECT ON DATABASE {DATABASE} TO caller")
        services.touch(mode=0o600)
        services.write_text(f"postgresql://caller:p@{primary.address}/{DATABASE}")
        gone = f"postgresql://x@127.0.0.1:{free_ports()}/x"

        again = _runbook_of(gone, primary.url(), tmp_path, "--service-url-file", str(services))
        primary.execute("ALTER ROLE caller SET default_transaction_read_only = on")
        unwritable = _runbook_of(gone, primary.url(), tmp_path, "--service-url-file", str(services), "--within", "1")
        names = primary.value("SHOW synchronous_standby_names")

    assert again.returncode == 0, again.stderr
    assert "address takes writes" in again.stdout
    assert "on one machine" not in again.stdout
    assert names == _NAMES
    assert unwritable.returncode == 1
    assert "who answers there is read-only" in unwritable.stderr


def test_a_read_only_answer_drops_the_pool(tmp_path: Path) -> None:
    with _running(tmp_path) as (primary, proxy, platform), ExitStack() as closing:
        standby = _follow(primary, tmp_path / "standby")
        closing.callback(standby.close)
        with httpx.Client(base_url=platform.url, timeout=30) as client:
            proxy.lead_to(standby.address)
            proxy.cut()
            assert waiting.until(lambda: _says_read_only(client, platform), timeout_s=60)
            # Reading goes on there, by connections that stay open, as they do to a primary that was demoted.
            with ThreadPoolExecutor(_READERS) as readers:
                answers = list(readers.map(lambda _: _search_runs(client), range(10 * _READERS)))
            proxy.lead_to(primary.address)

            refused = 0
            while _create_run(client).status_code != 200:
                refused += 1
                assert refused < 100

    print(f"{refused} writes were refused until all connections led to the primary")
    assert answers.count(200) > _READERS
    assert refused <= _READERS


def _says_read_only(client: httpx.Client, platform: Platform) -> bool:
    answer = _create_run(client)
    assert answer.status_code in (200, 503), answer.text
    return "25006" in (platform.data_path / "logs" / "tracking.log").read_text()


def _search_runs(client: httpx.Client) -> int:
    return client.post("/api/2.0/mlflow/runs/search", json={"experiment_ids": ["0"]}).status_code


def _create_run(client: httpx.Client) -> httpx.Response:
    return client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"})


def _await_more(load: Load, more: int) -> None:
    goal = load.count + more
    if not waiting.until(lambda: load.count >= goal, timeout_s=TIMEOUT_S):
        pytest.fail(f"no progress: {load.failed[-3:]}")
