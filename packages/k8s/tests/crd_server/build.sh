#!/usr/bin/env bash
# Builds a real API server for custom resources, for the tests of headwater.k8s: Kubernetes' own apiextensions-apiserver
# (structural schemas, defaults, CEL rules, strict field validation), from Debian's Go sources, and etcd.
# Nothing is installed: it needs Debian or Ubuntu on x86-64, about 3 GB in FOLDER while it builds and 150 MB afterwards.
#   bash build.sh FOLDER
set -euo pipefail
folder=$(realpath -m "${1:?usage: build.sh FOLDER}")
source "$(dirname "${BASH_SOURCE[0]}")/../debian.sh"
mkdir -p "$folder/bin"
cd "$folder"

echo "sources: the closure of golang-k8s-apiextensions-apiserver-dev, and Go; etcd"
mapfile -t packages < <(closure sid golang-k8s-apiextensions-apiserver-dev golang-1.26-go | grep '^golang')
unpack sid sources "${packages[@]}"
unpack bookworm etcd etcd-server
cp etcd/usr/bin/etcd bin/

echo "build: apiextensions-apiserver (up to 15 minutes of one core)"
use_go 1.26
GOPATH="$folder/sources/usr/share/gocode" go build -ldflags "-s -w" -o bin/apiextensions-apiserver \
    k8s.io/apiextensions-apiserver
rm -rf apt etcd sources gocache
echo "built: HEADWATER_CRD_SERVER=$folder/bin"
