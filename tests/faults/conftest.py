"""What tests of faults share: a platform of their own, whose processes may be killed, and its artifacts over REST."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.files import Files
from tests.stack import Stack


@pytest.fixture
def own_stack(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """What judges how long something takes judges the product's own bounds."""
    is_judged = request.node.get_closest_marker("alone") is not None
    with Stack(tmp_path, artifact_stores="", is_patient=not is_judged) as running:
        yield running


@pytest.fixture
def files(own_stack: Stack) -> Iterator[Files]:
    with Files(own_stack.url) as found:
        yield found
