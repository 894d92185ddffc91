#!/usr/bin/env bash
# Installs what a target of the Makefile needs and is not on the machine yet, by package name.
#
#   tools/setup.sh build     compiler, libraries and the V8 library
#   tools/setup.sh test      the same, plus what only the tests need
#
# A run with nothing to do asks dpkg once and ends. What was chosen is printed and, for the build,
# written to .deps/choices.env (shell syntax; the Makefile reads it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build_packages=(
  g++ cmake ninja-build pkg-config ccache lld make python3
  libssl-dev                        # digests, random numbers, encryption at rest
  libsodium-dev                     # nkeys, xkeys
  libcurl4-openssl-dev              # account JWTs from a URL, HTTP of functions
  liblz4-dev libzstd-dev            # compression at rest
  libsimdjson-dev libxxhash-dev     # base
  libcli11-dev                      # command line
  libyaml-cpp-dev                   # Nexfiles
  libmicrohttpd-dev zlib1g-dev      # monitoring; WebSocket compression
  libseccomp-dev libcrypt-dev       # sandbox; bcrypt
  libarchive-dev                    # layers of images
)
test_packages=(
  libgtest-dev libbenchmark-dev
  libnats-dev                       # the official C client, run against the server
  busybox-static                    # what images of tests hold
  iproute2 strace                   # networks of their own; disks that fail
  qemu-system-x86 cpio e2fsprogs    # microVMs; tools/microvm.sh
  openssl                           # makes the certificate of the peer the exchanges with TLS need
)
# Node is needed by the official JavaScript clients only, so a `node` and `npm` from anywhere will do.
# What libnode108 needs at run time when it is unpacked instead of installed.
libnode_runtime=(libc-ares2 libuv1 libnghttp2-14 libbrotli1 libicu72 libssl3)

# The newest release the recorded transcripts were made with.
nats_server_version=v2.15.2
natscli_version=v0.5.1

deps=$PWD/.deps
say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Prints those of the named packages that are not installed.
missing() {
  local -A installed=()
  local name state
  while IFS=$'\t' read -r name state; do
    [[ $state == ii* ]] && installed[$name]=1
  done < <(dpkg-query -W -f '${Package}\t${db:Status-Abbrev}\n' "$@" 2>/dev/null || true)
  for name in "$@"; do
    [[ -n ${installed[$name]:-} ]] || printf '%s\n' "$name"
  done
}

# need_root WHAT...: ends with a clear word when the packages cannot be installed by this user.
need_root() {
  [[ $(id -u) == 0 ]] || have sudo ||
    fail "neither root nor sudo here; as root, run: apt-get update && apt-get install $*"
}

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

apt_updated=
apt_update() {
  [[ -z $apt_updated ]] || return 0
  need_root "the packages named above"
  apt_updated=1
  say "reading the package lists (apt-get update)"
  as_root apt-get update -qq
}

# Lists can be empty (a fresh container) or old (404): one refresh, then one more try.
apt_install() {
  [[ $# -gt 0 ]] || return 0
  need_root "$@"
  say "installing $*"
  local run=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@")
  as_root "${run[@]}" >"$deps/apt.log" 2>&1 && return 0
  apt_update
  as_root "${run[@]}" >"$deps/apt.log" 2>&1 || { tail -n 20 "$deps/apt.log" >&2; return 1; }
}

install_missing() {
  local list
  mapfile -t list < <(missing "$@")
  apt_install ${list[@]+"${list[@]}"} || fail "apt-get could not install: ${list[*]}"
}

# unpack FOLDER PACKAGE...: the files of the packages below .deps/FOLDER. Nothing is installed, so
# nothing conflicts and no service starts. The sandbox user _apt may not write below a home folder.
unpack() {
  local into=$deps/$1 fetched
  shift
  fetched=$(mktemp -d "$deps/fetch.XXXXXX")
  local get=(apt-get -qq -o APT::Sandbox::User=root download "$@")
  if ! (cd "$fetched" && "${get[@]}") >"$deps/apt.log" 2>&1; then
    apt_update
    (cd "$fetched" && "${get[@]}") >"$deps/apt.log" 2>&1 ||
      { cat "$deps/apt.log" >&2; rm -rf "$fetched"; return 1; }
  fi
  mkdir -p "$into"
  for file in "$fetched"/*.deb; do dpkg -x "$file" "$into"; done
  rm -rf "$fetched"
}

# True when apt would add libnode-dev without removing or downgrading anything.
libnode_installs_cleanly() {
  local plan
  plan=$(LC_ALL=C apt-get install -s --no-install-recommends libnode-dev 2>&1) || return 1
  ! grep -Eq '^Remv|DOWNGRADED' <<<"$plan"
}

choose_libnode() {
  local unpacked=$deps/libnode/usr
  if [[ -z $(missing libnode-dev) ]]; then
    libnode_root=
    say "libnode: Debian's libnode-dev"
  elif [[ -e $unpacked/include/node/v8.h ]] && compgen -G "$unpacked/lib/*/libnode.so.*" >/dev/null; then
    libnode_root=$unpacked
    say "libnode: unpacked in .deps/libnode"
    install_missing "${libnode_runtime[@]}"
  else
    apt-cache show libnode-dev >/dev/null 2>&1 || apt_update
    if libnode_installs_cleanly; then
      apt_install libnode-dev || fail "apt-get could not install libnode-dev"
      libnode_root=
      say "libnode: Debian's libnode-dev"
    else
      # NodeSource's nodejs and Debian's libnode exclude each other as packages, not as files.
      local library
      library=$(apt-cache depends libnode-dev | sed -n 's/.*Depends: \(libnode[0-9][0-9]*\)$/\1/p' | head -n 1)
      [[ -n $library ]] || fail "apt knows no libnode-dev; build without functions: cmake -DWITH_V8=OFF"
      unpack libnode "$library" libnode-dev || fail "could not fetch $library and libnode-dev"
      install_missing "${libnode_runtime[@]}"
      libnode_root=$unpacked
      say "libnode: unpacked beside $(node_owner) into .deps/libnode; that node is left as it is"
    fi
  fi
  printf 'LIBNODE_ROOT=%q\n' "$libnode_root" >"$deps/choices.env"
}

node_owner() {
  case $(dpkg-query -W -f '${Version}' nodejs 2>/dev/null) in
    *nodesource*) echo "NodeSource's nodejs" ;;
    '') echo "the packages of this machine" ;;
    *) echo "the installed nodejs" ;;
  esac
}

choose_node() {
  have node || apt_install nodejs || fail "apt-get could not install nodejs"
  have npm || apt_install npm || fail "apt-get could not install npm"
  local manifest=tests/package.json stamp=tests/node_modules/.stamp
  [[ -e $manifest ]] || return 0
  if ! cmp -s "$manifest" "$stamp"; then
    say "installing the npm packages named in $manifest"
    (cd tests && npm install --no-audit --no-fund --no-package-lock --loglevel=error) ||
      fail "npm could not install the packages of $manifest"
    cp "$manifest" "$stamp"
  fi
}

# go_tool NAME MODULE@VERSION: builds a Go program into .deps/peers/bin, once per version.
go_tool() {
  local name=$1 module=$2 bin=$deps/peers/bin
  if [[ -x $bin/$name && $(cat "$bin/$name.version" 2>/dev/null) == "$module" ]]; then return 0; fi
  have go || return 1
  mkdir -p "$bin"
  say "building $name from the Go module ${module##*@} (once)"
  GOBIN=$bin GOFLAGS=-mod=mod go install "$module" >"$deps/go.log" 2>&1 || return 1
  echo "$module" >"$bin/$name.version"
}

# The peers the conformance tests compare with: the newest nats-server if it can be had, else
# Debian's. Neither is installed into the system: the Debian package would start a service.
choose_peers() {
  if [[ -n ${NATS_SERVER:-} ]]; then
    say "nats-server (peer): $NATS_SERVER"
  elif go_tool nats-server "github.com/nats-io/nats-server/v2@$nats_server_version"; then
    say "nats-server (peer): Go module $nats_server_version in .deps/peers/bin"
  elif have nats-server; then
    say "nats-server (peer): $(command -v nats-server)"
  else
    [[ -x $deps/peers/usr/sbin/nats-server ]] || unpack peers nats-server ||
      say "nats-server (peer): none; transcripts are compared with the recorded ones only"
    [[ -x $deps/peers/usr/sbin/nats-server ]] &&
      say "nats-server (peer): Debian's package, unpacked in .deps/peers"
  fi
  if [[ -n ${NATS_CLI:-} ]]; then
    say "nats CLI (peer): $NATS_CLI"
  elif go_tool nats "github.com/nats-io/natscli/nats@$natscli_version"; then
    say "nats CLI (peer): Go module $natscli_version in .deps/peers/bin"
  else
    say "nats CLI (peer): none, its tests are skipped"
  fi
}

have dpkg-query && have apt-get ||
  fail "no apt-get here; install the packages listed in tools/setup.sh by hand, then use cmake directly"
mkdir -p "$deps"
case ${1:-} in
  build)
    install_missing "${build_packages[@]}"
    choose_libnode
    ;;
  test)
    install_missing "${build_packages[@]}" "${test_packages[@]}"
    choose_libnode
    choose_node
    choose_peers
    ;;
  *) fail "usage: tools/setup.sh build|test" ;;
esac
