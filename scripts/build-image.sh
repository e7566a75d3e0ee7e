#!/usr/bin/env bash
# Builds the container image of deploy/Dockerfile without a daemon, and says what is in it. Wants buildah.
#
#   BASE    the image that it is built on, as docker.io/library/python:3.13-slim-trixie. Without one a base is made of this
#           machine's Debian, which wants root and debootstrap and no registry of images.
#   IMAGE   its name, default modelstead/server with the version of the client as its tag
#
# In .cache/image it leaves `image.tar` (an OCI archive, which skopeo, podman and docker take), `sbom.cdx.json`, and
# `root`, the path of its file system as this machine sees it.
set -euo pipefail

cd "$(dirname "$0")/.."
work=$PWD/.cache/image
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' client/modelstead/__init__.py)
image=${IMAGE:-modelstead/server:$version}

fail() {
  echo "$1" >&2
  exit 1
}

command -v buildah >/dev/null || fail 'The image is built by buildah: install it (Debian: apt-get install buildah).'
[ -n "$version" ] || fail 'client/modelstead/__init__.py says no version.'
mkdir -p "$work"
# A store of its own, so that nothing else on this machine is touched; plain folders, which work in every sandbox.
store=(--root "$work/store" --runroot "$work/run" --storage-driver vfs)
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}

# The packages of this machine's own Debian, from where this machine has them.
make_base() {
  command -v debootstrap >/dev/null && [ "$(id -u)" = 0 ] ||
    fail 'A base is made by debootstrap as root: install it, or name an image, as BASE=docker.io/library/python:3.13-slim-trixie.'
  local suite mirror container
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | awk -v s="$suite" '$2 == s {print $1; exit}')
  rm -rf "$work/base"
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$work/base" "$mirror" >"$work/base.log" ||
    fail "debootstrap failed: $work/base.log says why."
  rm -rf "$work"/base/var/{cache/apt,lib/apt/lists,log}/* "$work"/base/usr/share/{doc,man,locale}/* "$work/base/etc/apt/sources.list"
  container=$(buildah "${store[@]}" from scratch)
  buildah "${store[@]}" add --quiet "$container" "$work/base" / >/dev/null
  buildah "${store[@]}" commit --quiet --rm "$container" "$1" >/dev/null
  rm -rf "$work/base"
}

base=${BASE:-localhost/modelstead-base:$(. /etc/os-release && echo "$VERSION_CODENAME")}
if [ -z "${BASE:-}" ] && ! buildah "${store[@]}" inspect --type image "$base" >/dev/null 2>&1; then
  echo 'Making a base image of this machine'"'"'s Debian (two minutes, once).'
  make_base "$base"
fi

echo "Building $image on $base (minutes)."
# Where this machine's pip looks, and whom it trusts, is for the build and in no layer of the image.
ours=()
[ -f /etc/pip.conf ] && ours+=(--secret id=pip,src=/etc/pip.conf)
[ -d /etc/ssl/certs ] && ours+=(--volume /etc/ssl/certs:/etc/ssl/certs:ro)
committed=$(git log -1 --format=%ct)
buildah "${store[@]}" bud --quiet --file deploy/Dockerfile --tag "$image" --timestamp "$committed" "${ours[@]}" \
  --build-arg BASE="$base" --build-arg VERSION="$version" --build-arg REVISION="$(git rev-parse HEAD)" \
  --build-arg CREATED="$(date --utc --date "@$committed" +%FT%TZ)" . >"$work/build.log" 2>&1 ||
  fail "The build failed: $work/build.log says why."$'\n'"$(tail -n 5 "$work/build.log")"

rm -f "$work/image.tar"
buildah "${store[@]}" push --quiet "$image" "oci-archive:$work/image.tar:$image"
buildah "${store[@]}" rm --all >/dev/null
container=$(buildah "${store[@]}" from "$image")
buildah "${store[@]}" mount "$container" >"$work/root"

# It asks an interpreter where its packages are: this one answers for the image's, which is not run.
packages=$(echo "$(cat "$work/root")"/opt/modelstead/lib/python3*/site-packages)
printf '#!/bin/sh\necho \x27["%s"]\x27\n' "$packages" >"$work/interpreter"
chmod +x "$work/interpreter"
.venv-deploy/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
  --output-format JSON --output-file "$work/sbom.cdx.json" "$work/interpreter"

echo "$image"
echo "  digest   $(buildah "${store[@]}" images --filter "reference=$image" --format '{{.Digest}}' | head -n 1)"
echo "  archive  .cache/image/image.tar ($(du -h "$work/image.tar" | cut -f 1))"
echo "  SBOM     .cache/image/sbom.cdx.json"
