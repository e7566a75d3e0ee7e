#!/usr/bin/env bash
# Installs the servers that tests talk to and that no Python package has: OpenSSH's from Debian, Azurite from npm.
# Does nothing when they are there. Fails with one sentence where it cannot install them.
set -euo pipefail

cd "$(dirname "$0")/.."
azurite=.cache/azurite

fail() {
  echo "$1" >&2
  exit 1
}

if ! [ -x /usr/sbin/sshd ]; then
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] ||
    fail 'The tests of SFTP need /usr/sbin/sshd: install OpenSSH'"'"'s server (Debian: apt-get install openssh-server).'
  echo 'Installing the SSH server that tests of SFTP start.'
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server >/dev/null
fi

if ! cmp -s tests/servers/package-lock.json "$azurite/package-lock.json" || ! [ -d "$azurite/node_modules/azurite" ]; then
  command -v npm >/dev/null || fail 'The tests of Azure need npm, which has the emulator Azurite: install Node.js 20 or newer.'
  echo 'Installing the emulator that tests of Azure start (a minute, once).'
  rm -rf "$azurite"
  mkdir -p "$azurite"
  cp tests/servers/package.json tests/servers/package-lock.json "$azurite"
  # No package runs a program of its own, and none is asked for news.
  npm ci --prefix "$azurite" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
fi
