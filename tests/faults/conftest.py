"""What tests of faults share: a platform of their own, whose processes may be killed, and its artifacts over REST."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.files import Files
from tests.stack import Stack


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, artifact_stores="") as running:
        yield running


@pytest.fixture
def files(own_stack: Stack) -> Iterator[Files]:
    with Files(own_stack.url) as found:
        yield found
