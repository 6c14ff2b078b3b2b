#!/bin/sh
# Prepares this machine: an interpreter, Debian's tools, the pinned packages. Idempotent, and quick when there is
# nothing to do. `scripts/setup.sh run` is for running the portal, `scripts/setup.sh test` adds what the tests need.
set -eu
cd "$(dirname "$0")/.."
goal=${1:-run}
venv=${PORTICO_VENV:-.venv}

say() { printf 'portico: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Which Debian package brings which program.
tools="bwrap:bubblewrap git:git"
# For what Spaces keep and for their way to the internet, which only root can make.
if [ "$(id -u)" = 0 ]; then tools="$tools mkfs.ext4:e2fsprogs nft:nftables ip:iproute2 pasta:passt"; fi
if [ "$goal" = test ]; then
    tools="$tools chromium:chromium redis-server:redis-server initdb:postgresql npm:npm nginx:nginx-light caddy:caddy curl:curl"
    # For a kernel with version 2 of control groups (tests/sandbox/test_version_2.py).
    if [ "$(uname -m)" = x86_64 ]; then tools="$tools qemu-system-x86_64:qemu-system-x86 cpio:cpio"; fi
fi

has() {
    case $1 in
        nginx) [ -x /usr/sbin/nginx ] || command -v nginx >/dev/null 2>&1 ;;  # not on an ordinary user's PATH
        initdb) ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=""
for tool in $tools; do
    has "${tool%%:*}" || missing="$missing ${tool##*:}"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing Debian packages:$missing"
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        fail "missing programs; install them with: sudo apt-get install$missing"
    fi
fi

# A program called python3 may be a shim that refuses to run, so each candidate is asked to prove itself.
suits() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

if ! suits "$venv/bin/python"; then
    python=""
    for candidate in ${PORTICO_PYTHON:-} python3.13 python3.12 python3.11 python3.14 python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[1-4].*/bin/python /opt/python*/bin/python3 /usr/local/bin/python3; do
        if suits "$candidate"; then python=$candidate; break; fi
    done
    [ -n "$python" ] || fail "no Python from 3.11 to 3.14 with venv found; install one (Debian: python3 python3-venv)" \
        "or name it in PORTICO_PYTHON"
    say "making $venv with $("$python" --version) of $(command -v "$python")"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

# Where PYTHONDONTWRITEBYTECODE is set, as in many container images, each process would compile Django and all the rest
# for itself, which takes seconds. What cannot be compiled or written (packages carry files of other Pythons, a checkout
# may be read-only) is left to that.
compile() { "$venv/bin/python" -m compileall -q "$@" >/dev/null || true; }

requirements=requirements.txt
[ "$goal" = test ] && requirements=requirements-dev.txt
stamp="$venv/.compiled-$goal-$(cat requirements*.txt constraints.txt | cksum | tr -d ' ')"
if [ ! -e "$stamp" ]; then
    say "installing the pinned packages of $requirements"
    uv=$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.txt)
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "$uv"
    UV_PYTHON_DOWNLOADS=never "$venv/bin/uv" pip install -q --python "$venv/bin/python" -r "$requirements" -c constraints.txt
    compile -j 0 "$venv/lib"
    touch "$stamp"
fi
compile apps portal

if [ "$goal" = test ]; then
    # The type checker of embed_js, and Gradio's JavaScript client, which the tests use as people do.
    for folder in embed_js tests/clients; do
        if [ ! -e $folder/node_modules/.package-lock.json ] ||
            [ $folder/package-lock.json -nt $folder/node_modules/.package-lock.json ]; then
            say "installing the pinned packages of $folder"
            (cd $folder && npm ci --silent --no-audit --no-fund --ignore-scripts)
        fi
    done
fi

kernel="$venv/kernel"
if [ "$goal" = test ] && [ ! -e "$kernel" ] && [ "$(id -u)-$(uname -m)" = 0-x86_64 ] &&
    command -v apt-get >/dev/null 2>&1; then
    say "unpacking Debian's kernel for the tests of control groups"
    apt-get update -qq
    image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-\)/\1/p' | head -n 1)
    rm -rf "$kernel.new"
    mkdir "$kernel.new"
    (
        cd "$kernel.new"
        # Unpacked, not installed: this machine keeps its own.
        apt-get download -qq -o APT::Sandbox::User=root "$image" busybox-static
        dpkg --fsys-tarfile "$image"_*.deb | tar -x --wildcards './boot/vmlinuz-*' './lib/modules/*/kernel/fs/9p' \
            './lib/modules/*/kernel/fs/netfs' './lib/modules/*/kernel/fs/fscache' './lib/modules/*/kernel/net/9p' \
            './lib/modules/*/kernel/drivers/virtio'
        dpkg --fsys-tarfile busybox-static_*.deb | tar -x ./bin/busybox
        rm ./*.deb
    )
    mv "$kernel.new" "$kernel"
fi
