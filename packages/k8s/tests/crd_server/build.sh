#!/usr/bin/env bash
# Builds a real API server for custom resources, for the tests of headwater.k8s: Kubernetes' own apiextensions-apiserver
# (structural schemas, defaults, CEL rules, strict field validation), from Debian's Go sources, and etcd.
# Nothing is installed: it needs Debian or Ubuntu, about 3 GB in FOLDER while it builds and 150 MB afterwards.
#   bash build.sh FOLDER
set -euo pipefail
folder=$(realpath -m "${1:?usage: build.sh FOLDER}")
mkdir -p "$folder"/{state/lists/partial,cache/archives/partial,sources,bin}
cd "$folder"

# Debian's unstable suite, read with lists and a package database of its own: the system's stay as they are.
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main" > sources.list
cat > apt.conf <<EOF
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "$folder/none";
Dir::State "$folder/state";
Dir::State::status "$folder/status";
Dir::Cache "$folder/cache";
APT::Sandbox::User "root";
EOF
: > status
sid() { APT_CONFIG="$folder/apt.conf" "$@"; }
sid apt-get update -qq

echo "sources: the closure of golang-k8s-apiextensions-apiserver-dev, and Go"
mapfile -t packages < <(sid apt-get install -y --no-install-recommends --print-uris \
    golang-k8s-apiextensions-apiserver-dev golang-1.26-go | awk '/^\x27/ {print $2}' | sed 's/_.*//' | grep '^golang')
(cd cache && sid apt-get download -qq "${packages[@]}")
for package in cache/*.deb; do dpkg -x "$package" sources; done
rm -f cache/*.deb

echo "build: apiextensions-apiserver (up to 15 minutes of one core)"
export GOROOT="$folder/sources/usr/lib/go-1.26" GOPATH="$folder/sources/usr/share/gocode" GOCACHE="$folder/gocache"
# Debian's GOROOT is a folder of links, and the sources' half lies in /usr/share.
for link in "$GOROOT"/*; do
    [ -L "$link" ] && ln -sfn "$(realpath -m "$folder/sources/usr/lib/go-1.26/$(readlink "$link")")" "$link"
done
GO111MODULE=off CGO_ENABLED=0 GOFLAGS=-p=${JOBS:-2} "$GOROOT/bin/go" build -ldflags "-s -w" \
    -o bin/apiextensions-apiserver k8s.io/apiextensions-apiserver

if ! command -v etcd > /dev/null; then
    echo "etcd: of this system's suite"
    (cd cache && apt-get download -qq etcd-server)
    dpkg -x cache/etcd-server_*.deb etcd
    cp etcd/usr/bin/etcd bin/
fi
rm -rf cache etcd state sources gocache sources.list apt.conf status
echo "built: HEADWATER_CRD_SERVER=$folder/bin"
