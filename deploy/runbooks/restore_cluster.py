#!/usr/bin/env python3
"""Turns the manifests of an overlay with `postgres-cnpg` into those that restore its database from its backups.

  kubectl kustomize OVERLAY | restore_cluster.py --to TIME | kubectl apply -f -

TIME such as 2026-11-27T19:40:00Z is a moment before the accident; without it all that was archived is restored. For a
new namespace, or once the Cluster `postgres` is deleted: an existing one is not restored in its place. What the new one
archives goes under another name into the same bucket, so that the backups it came from stay; what the overlay needs to
keep that name is told on stderr. `gc` is suspended, until `modelstead fsck` has said what is missing. Changes nothing
itself; needs PyYAML, which `modelstead-server` brings.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

import yaml

_SOURCE = "backups"
_TOLD = """\
restore_cluster: restores what was archived as {source}, and archives as {target} from then on.
Before the overlay is applied or restored again, put this below `patches:` of its kustomization.yaml, or of its site's,
in the place of what an earlier restore has said:
  - {{target: {{kind: Cluster, name: {name}}}, patch: '{patch}'}}
Without it the Cluster would archive into {source} again, and the next restore would leave out all that came since."""

Manifest = dict[str, Any]


def main() -> None:
    """Read manifests, write manifests."""
    options = _parser().parse_args()
    manifests = [manifest for manifest in yaml.safe_load_all(sys.stdin) if manifest]
    clusters = [manifest for manifest in manifests if manifest["kind"] == "Cluster"]
    if len(clusters) != 1:
        sys.exit(f"restore_cluster: expected one Cluster among the manifests, found {len(clusters)}.")
    _recover(clusters[0], to=options.to, archive_as=options.archive_as)
    for manifest in manifests:
        if manifest["kind"] == "CronJob" and manifest["metadata"]["name"] == "gc":
            manifest["spec"]["suspend"] = True
    yaml.safe_dump_all(manifests, sys.stdout, sort_keys=False)


def _recover(cluster: Manifest, *, to: datetime | None, archive_as: str) -> None:
    spec, name = cluster["spec"], cluster["metadata"]["name"]
    [archiver] = [plugin for plugin in spec.get("plugins", []) if plugin.get("isWALArchiver")] or [None]
    if archiver is None:
        sys.exit(f"restore_cluster: the Cluster {name} archives no WAL, so there is nothing to restore.")
    parameters = archiver["parameters"]
    archived_as = parameters.get("serverName", name)
    if archive_as == archived_as:
        sys.exit(f"restore_cluster: --archive-as {archive_as} is where the backups are that are to be restored.")
    # One that was restored before has what it began with there.
    initial = spec["bootstrap"].get("initdb") or spec["bootstrap"].get("recovery", {})
    recovery: Manifest = {"source": _SOURCE, **{key: initial[key] for key in ("database", "owner") if key in initial}}
    if to is not None:
        recovery["recoveryTarget"] = {"targetTime": to.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")}
    spec["bootstrap"] = {"recovery": recovery}
    source = {"name": archiver["name"], "parameters": {**parameters, "serverName": archived_as}}
    spec["externalClusters"] = [{"name": _SOURCE, "plugin": source}]
    archiver["parameters"] = {**parameters, "serverName": archive_as}
    path = f"/spec/plugins/{spec['plugins'].index(archiver)}/parameters/serverName"
    patch = json.dumps([{"op": "add", "path": path, "value": archive_as}])
    print(_TOLD.format(source=archived_as, target=archive_as, name=name, patch=patch), file=sys.stderr)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=_moment, metavar="TIME", help="with its zone")
    parser.add_argument(
        "--archive-as", metavar="NAME", default=f"postgres-{datetime.now(UTC):%Y%m%d%H%M}",
        help="the name under which the restored Cluster archives",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    main()
