#!/usr/bin/env bash
# Installs the browser that tests of web pages drive: Debian's Chromium. Does nothing when there is one, and fails with
# one sentence where it cannot install it.
set -euo pipefail

for program in chromium chromium-browser google-chrome; do
  command -v "$program" >/dev/null && exit 0
done

if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo 'The tests of web pages need Chromium: install it (Debian: apt-get install chromium).' >&2
  exit 1
fi
echo 'Installing Chromium, which tests of web pages drive (a minute, once).'
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
