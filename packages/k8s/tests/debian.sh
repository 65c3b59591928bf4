# Packages of Debian without installing them, for the builds in the folders beside this. To be sourced, with $folder
# set to where they build. apt has lists and a package database of its own there; the system's stay as they are.

keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keys" ] || { echo "$keys is missing: apt-get install debian-archive-keyring" >&2; exit 1; }

# debian SUITE COMMAND…: runs a command of apt's on the packages and sources of a suite.
debian() {
    local suite=$1 apt="$folder/apt/$1" kind
    shift
    if [ ! -f "$apt/ready" ]; then
        mkdir -p "$apt"/{state/lists/partial,cache/archives/partial}
        for kind in deb deb-src; do
            echo "$kind [signed-by=$keys] http://deb.debian.org/debian $suite main"
            [ "$suite" = sid ] ||
                echo "$kind [signed-by=$keys] http://deb.debian.org/debian-security $suite-security main"
        done > "$apt/sources.list"
        cat > "$apt/apt.conf" <<EOF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/none";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
EOF
        : > "$apt/status"
        APT_CONFIG="$apt/apt.conf" apt-get update -qq >&2
        : > "$apt/ready"
    fi
    APT_CONFIG="$apt/apt.conf" "$@"
}

# closure SUITE PACKAGE…: the names of packages and of all that they depend on.
closure() {
    local suite=$1
    shift
    debian "$suite" apt-get install -y --no-install-recommends --print-uris "$@" | awk '/^\x27/ {sub(/_.*/, "", $2); print $2}'
}

# unpack SUITE FOLDER PACKAGE…: what is in packages.
unpack() {
    local suite=$1 into=$2 package
    shift 2
    mkdir -p "$folder/apt/packages" "$into"
    (cd "$folder/apt/packages" && debian "$suite" apt-get download -qq "$@")
    for package in "$folder"/apt/packages/*.deb; do
        dpkg --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$into"
    done
    rm "$folder"/apt/packages/*.deb
}

# use_go VERSION: the Go that lies in $folder/sources. Its root is a folder of links, half of it is in /usr/share.
use_go() {
    export GOROOT="$folder/sources/usr/lib/go-$1" GOCACHE="$folder/gocache" GO111MODULE=off CGO_ENABLED=0
    export GOFLAGS=-p=${JOBS:-2} PATH="$folder/sources/usr/lib/go-$1/bin:$PATH"
}
