"""Ports that are chosen to be listened on."""

import subprocess
import sys

import pytest

from services.local import ports


def test_no_port_is_given_twice_before_anybody_listens_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_CHOICE", range(ports._CHOICE.start, ports._CHOICE.start + 120))

    given = [ports.choose("127.0.0.1") for _ in range(60)]

    assert len(set(given)) == len(given)


def test_another_process_is_not_given_one_either_until_this_one_has_ended() -> None:
    few = "from services.local import ports; ports._CHOICE = range(20_000, 20_200)"
    hold = f"import sys; {few}; [print(ports.choose('127.0.0.1')) for _ in range(50)]; sys.stdin.read()"
    choose = f"{few}; [print(ports.choose('127.0.0.1')) for _ in range(50)]"

    with subprocess.Popen(
        [sys.executable, "-u", "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        held = {int(holder.stdout.readline()) for _ in range(50)}
        others = {int(line) for line in subprocess.check_output([sys.executable, "-c", choose]).split()}
        claims_meanwhile = [ports.claim(port) for port in held]
    claims = [ports.claim(port) for port in held]

    assert len(held) == len(others) == 50
    assert not held & others
    assert not any(claims_meanwhile)
    assert all(claims)
