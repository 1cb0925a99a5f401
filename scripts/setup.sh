#!/bin/bash
# Installs what the tests and CI need beyond the Rust toolchain, by apt and pip.
# Quick when all is there. The lab (QEMU, kernel, guest root) is scripts/lab/setup.sh.
set -euo pipefail

# command:package
tools=(
    mke2fs:e2fsprogs debugfs:e2fsprogs
    mkfs.xfs:xfsprogs xfs_db:xfsprogs
    mkfs.btrfs:btrfs-progs
    mdadm:mdadm
    lvm:lvm2
    losetup:mount
    sgdisk:gdisk
    sfdisk:fdisk partx:util-linux
    zstd:zstd
    /usr/bin/time:time prlimit:util-linux
    python3:python3 pip3:python3-pip
    strace:strace
    doveadm:dovecot-core
    /usr/lib/dovecot/imap:dovecot-imapd
    ewfacquire:ewf-tools
    qemu-img:qemu-utils qemu-io:qemu-utils
    mandoc:mandoc
)

PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in "${tools[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt=(apt-get)
    [ "$(id -u)" = 0 ] || apt=(sudo --preserve-env=DEBIAN_FRONTEND apt-get)
    "${apt[@]}" update -qq
    # Dovecot is used without its daemon: nothing needs to start.
    "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
# dkimpy is the oracle of signatures; DuckDB reads the catalogue, as an engineer would.
if ! python3 -c 'import dkim, cryptography, duckdb' 2>/dev/null; then
    # Debian keeps pip from its own Python unless told that this is wanted; older ones need no telling.
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install -q dkimpy cryptography duckdb
fi
echo "setup: ready" >&2
