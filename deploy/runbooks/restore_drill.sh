#!/usr/bin/env bash
# Proves that the newest backup in a folder can be restored: into a new folder that is removed afterwards, on ports of its
# own, with every content read and hashed. Changes neither the backup nor the platform; may be run at any time, again too.
set -euo pipefail

usage='Usage: restore_drill.sh --backups DIR [--port PORT] [--to TIME]

  --backups DIR   what `modelstead backup` wrote
  --port PORT     the first of four free ports (28080)
  --to TIME       a moment, such as 2026-11-27T19:40:00Z; without it the last that there is'

fail() {
  echo "restore_drill.sh: $1" >&2
  exit 1
}

backups='' port=28080 to=()
while [ $# -gt 0 ]; do
  case $1 in
    --backups) backups=${2-} && shift ;;
    --port) port=${2-} && shift ;;
    --to) to=(--to "${2-}") && shift ;;
    --help) echo "$usage" && exit ;;
    *) fail "there is no option $1"$'\n'"$usage" ;;
  esac
  shift || fail 'an option lacks its value'
done
[ -n "$backups" ] || fail "--backups is needed"$'\n'"$usage"

newest=$(find "$backups" -mindepth 2 -maxdepth 2 -name complete | sort | tail -n 1)
newest=${newest%/complete}
[ -n "$newest" ] || fail "$backups has no complete backup"
work=$(mktemp -d)
up=''
# SIGTERM: a shell has its background processes ignore SIGINT.
trap '[ -z "$up" ] || { kill -TERM "$up" && wait "$up"; } || true; rm -rf "$work"' EXIT

# What this machine's own platform is told by its environment, such as its database, is not for this one.
unset "${!MODELSTEAD_@}"
began=$SECONDS
modelstead restore "$backups" --data-dir "$work/data" "${to[@]}"
# Webhooks that were due then are not sent anew.
export MODELSTEAD_UI=false MODELSTEAD_WEBHOOK_DELIVERY=false
modelstead up --port "$port" --data-dir "$work/data" >"$work/log" 2>&1 &
up=$!
# Until then the log may tell of Postgres, which is ready before.
until grep -q '^Modelstead .* is ready ' "$work/log"; do
  kill -0 "$up" 2>/dev/null || fail "what was restored does not start:"$'\n'"$(cat "$work/log")"
  sleep 0.2
done
# Exits 1 for orphans too: contents that came after the database's moment, which every backup under load has.
modelstead fsck --deep --artifacts "127.0.0.1:$((port + 2))" >"$work/found" 2>"$work/told" || true
grep 'compared' "$work/found" || fail "fsck did not come to its end:"$'\n'"$(cat "$work/told")"
echo "Orphaned: $(grep -c '^orphaned' "$work/found" || true)."
bad='^(missing|truncated|changed)'
if [ -n "$(ls "$newest/wal")" ] && [ ${#to[@]} = 0 ]; then
  bad='^(truncated|changed)'
  echo "Missing, as they came after contents were copied last: $(grep -c '^missing' "$work/found" || true)."
fi
if grep -E "$bad" "$work/found"; then
  fail 'these contents are not as the restored database has them'
fi
echo "Restored, started and checked in $((SECONDS - began)) s."
