#!/usr/bin/env bash
# Makes an empty virtual environment, or says in one sentence why it cannot.
# Usage: create-venv.sh FOLDER PYTHON OLDEST [NEWEST]
set -euo pipefail

folder=$1 python=$2 oldest=$3 newest=${4:-}

refuse() {
  echo "$1" >&2
  exit 1
}

[[ -n $newest ]] && supported="Python $oldest to $newest" || supported="Python $oldest or newer"
choose="install one and name it, as in \`make PYTHON=python${newest:-3.12} ...\`."

found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
  refuse "$folder needs $supported, and \`$python\` does not run: $choose"

"$python" - "$oldest" "${newest:-999.0}" <<'PYTHON' || refuse "$folder needs $supported, and \`$python\` is $found: $choose"
import sys
oldest, newest = (tuple(map(int, bound.split("."))) for bound in sys.argv[1:])
sys.exit(not oldest <= sys.version_info[:2] <= newest)
PYTHON

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  refuse "\`$python\` lacks its venv module: install it (on Debian and Ubuntu: apt-get install python$found-venv)."

"$python" -m venv --clear "$folder"
