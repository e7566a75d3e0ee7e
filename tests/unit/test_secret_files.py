"""Secrets that are read again when their file is another one, and what is made of them."""

import logging
from pathlib import Path

import pytest

from services.common import settings
from services.common.errors import InvalidArgument
from services.common.pages import PageTokens
from services.common.secret_files import Derived, Secret, read_together, words_of
from services.registry.webhooks.sealing import Sealer

_OLD, _NEW = "o" * 43, "n" * 43


def test_a_file_is_read_again_when_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f" {_OLD}\n")
    secret = Secret.of_file(file)

    file.write_text(f"{_NEW}\n{_OLD}\n")

    assert secret.lines() == [_NEW, _OLD]


def test_a_folder_is_exchanged_as_a_whole_as_a_kubelet_does(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        for key in ("a", "b"):
            (tmp_path / name / key).write_text(name)
    current = tmp_path / "current"
    current.symlink_to("old")
    first, second = Secret.of_file(current / "a"), Secret.of_file(current / "b")
    assert read_together(first, second) == ("old", "old")

    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").rename(current)

    assert read_together(first, second) == ("new", "new")


def test_two_halves_of_different_ages_are_never_given_out(tmp_path: Path) -> None:
    class Exchanged(Secret):
        """The folder is exchanged right after this was read for the first time."""

        def read(self) -> str:
            text = super().read()
            for file in files:
                # Of another length: two writes within one tick of the system's clock have one time.
                file.write_text("newer")
            return text

    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text("old")

    assert read_together(Exchanged.of_file(files[0]), Secret.of_file(files[1])) == ("newer", "newer")


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_what_is_away_or_empty_keeps_the_last(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "secret"
    file.write_text(_OLD)
    secret = Secret.of_file(file)

    file.unlink()
    if content is not None:
        file.write_text(content)

    assert secret.read() == _OLD


def test_what_is_not_valid_leaves_things_as_they_are_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "secret"
    file.write_text("1")
    number = Derived(Secret.of_file(file), int)

    file.write_text("one")
    with caplog.at_level(logging.ERROR):
        assert [number(), number()] == [1, 1]
    file.write_text("2")

    assert number() == 2
    assert len(caplog.records) == 1


def test_tokens_of_a_page_are_good_while_their_key_is_there(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(_OLD)
    tokens = PageTokens(Secret.of_file(file))
    old = tokens.encode([1], "q")

    file.write_text(f"{_NEW}\n{_OLD}\n")
    assert tokens.decode(old, "q") == (1,)
    new = tokens.encode([2], "q")
    file.write_text(f"{_NEW}\n")

    assert tokens.decode(new, "q") == (2,)
    with pytest.raises(InvalidArgument):
        tokens.decode(old, "q")


def test_a_secret_is_sealed_under_the_key_that_is_newest_now(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("A" * 43)
    sealer = Sealer(Secret.of_file(file))
    sealed = sealer.seal("s")

    file.write_text(f"{'B' * 42}A,{'A' * 43}")

    assert sealer.open(sealed) == "s"
    assert Sealer([f"{'B' * 42}A"]).open(sealer.reseal(sealed)) == "s"


def test_a_setting_that_is_a_secret_follows_its_file(tmp_path: Path) -> None:
    from services.gateway.settings import Settings

    file = tmp_path / "keys"
    file.write_text("A" * 43)
    config = settings.load(Settings, {"MODELSTEAD_SESSION_KEYS_FILE": str(file)})

    file.write_text(f"{'B' * 42}A,{'A' * 43}")

    assert len(words_of(config.session_keys.read())) == 2
