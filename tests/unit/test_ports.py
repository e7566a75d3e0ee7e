"""Ports that are chosen to be listened on."""

import pytest

from services.local import ports


def test_no_port_is_given_twice_before_anybody_listens_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_CHOICE", range(ports._CHOICE.start, ports._CHOICE.start + 120))

    given = [ports.choose("127.0.0.1") for _ in range(60)]

    assert len(set(given)) == len(given)
