"""Reads from a request what it expects to hold before a change."""

from typing import Any

from services.registry.transitions.model import Expected


def expected_of(request: Any) -> Expected:
    """Return what a request with the fields `if_stage` and `if_version` expects: absent is not the same as empty."""
    return Expected(
        stage=request.if_stage if request.HasField("if_stage") else None,
        version=request.if_version if request.HasField("if_version") else None,
    )
