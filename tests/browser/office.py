"""A team with a promotion policy: its people, what they have registered, and how they do things by the API."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

# Who may approve what follows from their groups.
GROUPS: Mapping[str, str] = MappingProxyType({"bob": "", "alice": "leads", "carol": "risk", "root": "admins"})
POLICY = """\
rules:
  Staging:
    checks: [unit-tests]
  Production:
    approvals: 2
    approvers: {groups: [leads, risk]}
    checks:
      - unit-tests
      - bias-report
aliases:
  champion:
    approvals: 1
    approvers: {groups: [leads]}
request_expires: 7d
"""


def key_of(name: str) -> str:
    """The API key of somebody."""
    return f"{name}-has-a-key-that-nobody-guesses"


def write_tokens(path: Path) -> Path:
    """Write the file that knows everybody by their keys."""
    lines = (
        f"{name}:{groups}:{hashlib.sha256(key_of(name).encode()).hexdigest()}\n" for name, groups in GROUPS.items()
    )
    path.write_text("".join(lines))
    return path


class Office:
    """Does things at the gateway at `url` by the API, as somebody."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api/2.0/mlflow/", timeout=60)

    def close(self) -> None:
        self._client.close()

    def post(self, who: str, path: str, **values: Any) -> dict[str, Any]:
        return self._answered(self._client.post(path, json=values, headers=_as(who)))

    def get(self, who: str, path: str, **values: Any) -> dict[str, Any]:
        return self._answered(self._client.get(path, params=values, headers=_as(who)))

    def stage(self, name: str, version: str) -> str:
        """The stage that a version is in."""
        found = self.get("root", "model-versions/get", name=name, version=version)
        return str(found["model_version"]["current_stage"])

    def register(self, name: str, *stages: str) -> str:
        """Register a model with a version for each stage, and return its name."""
        self.post("bob", "registered-models/create", name=name, description=f"What {name} is good for.")
        for number, stage in enumerate(stages, 1):
            self.post("bob", "model-versions/create", name=name, source=f"s3://models/{name}/{number}")
            if stage != "None":
                self.post(
                    "bob", "model-versions/transition-stage", name=name, version=str(number), stage=stage,
                    archive_existing_versions=False,
                )  # fmt: skip
        return name

    def govern(self, name: str, policy: str = POLICY) -> None:
        self.post("root", "promotion-policies/set", name=name, policy_yaml=policy)

    def check(self, name: str, version: str, check: str, state: str = "PASSED") -> None:
        self.post("bob", "model-versions/checks/set", name=name, version=version, check=check, state=state)

    def ask(self, who: str, name: str, version: str, stage: str, comment: str = "") -> None:
        self.post(who, "transition-requests/create", name=name, version=version, stage=stage, comment=comment)

    @staticmethod
    def _answered(answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code == 200, f"{answer.request.url}: {answer.status_code} {answer.text}"
        body: dict[str, Any] = answer.json()
        return body


def _as(who: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key_of(who)}"}
