#!/usr/bin/env bash
# Builds a real cluster for the tests of headwater.k8s: Kubernetes 1.20.2's servers and kubelet from Debian's sources,
# with etcd, containerd, runc, CNI plugins, iptables and kubectl of Debian, and a root file system with Python and Java.
# Nothing is installed: it needs Debian bookworm or newer on x86-64, about 5 GB in FOLDER while it builds and 1 GB after.
#   bash build.sh FOLDER
set -euo pipefail
folder=$(realpath -m "${1:?usage: build.sh FOLDER}")
source "$(dirname "${BASH_SOURCE[0]}")/../debian.sh"
mkdir -p "$folder"/{root,bin,lib}
cd "$folder"

echo "programs: containerd, runc, CNI, etcd, iptables, kubectl, Go"
unpack bookworm sources golang-1.19-go golang-1.19-src etcd-server containerd runc containernetworking-plugins iptables \
    kubernetes-client libip4tc2 libip6tc2 libxtables12 libnftnl11 libmnl0 libseccomp2
cp sources/usr/bin/{containerd,containerd-shim-runc-v2,ctr,etcd,kubectl} sources/usr/sbin/{runc,xtables-nft-multi} bin/
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -sfn xtables-nft-multi bin/$name
done
cp -r sources/usr/lib/x86_64-linux-gnu/{lib*.so*,xtables} lib/
cp -r sources/usr/lib/cni .

echo "root file system of the images: Python, Java, tini"
mapfile -t packages < <(closure bookworm bash coreutils python3.11 openjdk-17-jre-headless tini libgomp1)
for name in bin lib lib64 sbin; do mkdir -p root/usr/$name; ln -sfn usr/$name root/$name; done
unpack bookworm root "${packages[@]}"
rm -rf root/usr/share/{doc,man,locale}
ln -sfn /usr/lib/jvm/java-17-openjdk-amd64/bin/java root/usr/bin/java
mkdir -p root/{proc,sys,dev,tmp,run}
tar -C root --owner=0 --group=0 -cf rootfs.tar .

echo "build: Kubernetes (about 40 minutes of one core)"
(cd sources && debian bookworm apt-get source -qq --download-only kubernetes &&
    dpkg-source -x kubernetes_*.dsc kubernetes)
mkdir -p gopath/src/k8s.io
mv sources/kubernetes gopath/src/k8s.io/kubernetes
use_go 1.19
export GOPATH="$folder/gopath"
cd gopath/src/k8s.io/kubernetes
here=k8s.io/kubernetes
go build -o "$folder/openapi-gen" $here/vendor/k8s.io/kube-openapi/cmd/openapi-gen
# As build/root/Makefile.generated_files does, which wants a git checkout and bazel's files.
inputs=$(grep -rlE --include='*.go' '^// *\+k8s:openapi-gen=' vendor/k8s.io/*/ pkg cmd plugin \
    | grep -vE '^vendor/k8s.io/(code-generator|sample-)' | xargs -n1 dirname | LC_ALL=C sort -u | sed "s,^,$here/," \
    | paste -sd,)
"$folder/openapi-gen" --logtostderr -i "$inputs" -p $here/pkg/generated/openapi -O zz_generated.openapi \
    -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$folder/violations"
flags="-s -w"
for value in gitVersion=v1.20.2 gitMajor=1 gitMinor=20 gitTreeState=clean; do
    for package in component-base/version client-go/pkg/version; do flags+=" -X $here/vendor/k8s.io/$package.$value"; done
done
# Without the clouds' own code and Docker's, which are a good part of it.
go build -tags providerless,dockerless -ldflags "$flags" -o "$folder/bin/" \
    $here/cmd/{kubelet,kube-apiserver,kube-controller-manager,kube-scheduler}

cd "$folder"
chmod -R u+w gopath
rm -rf apt sources root gopath gocache openapi-gen violations
echo "built: HEADWATER_CLUSTER=$folder"
