#!/usr/bin/env bash
# Puts Prometheus' promtool, which tests of alerts call, at .cache/promtool: this machine's own, or Debian's, unpacked and
# not installed. Does nothing when it is there. Fails with one sentence where there is none to be had.
set -euo pipefail

cd "$(dirname "$0")/.."
promtool=.cache/promtool

fail() {
  echo "$1" >&2
  exit 1
}

[ -x "$promtool" ] && exit
mkdir -p .cache
if own=$(command -v promtool); then
  ln -sf "$own" "$promtool"
  exit
fi
command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] ||
  fail 'The tests of alerts need promtool: install Prometheus (Debian: apt-get install prometheus).'
echo 'Fetching promtool, which tests of alerts call.'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
apt-get update -qq
(cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root prometheus >/dev/null && dpkg-deb -x prometheus_*.deb .)
cp "$folder/usr/bin/promtool" "$promtool"
