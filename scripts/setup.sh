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
    mutt:mutt script:bsdutils mactime:sleuthkit
    openssl:openssl mbsync:isync
    /usr/lib/cyrus/bin/master:cyrus-common saslpasswd2:sasl2-bin
    ewfacquire:ewf-tools
    qemu-img:qemu-utils qemu-io:qemu-utils
    cryptsetup:cryptsetup-bin
    mandoc:mandoc
    xmllint:libxml2-utils
    chromium:chromium pdftotext:poppler-utils
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
# Debian lets only one imapd be installed, and Dovecot's is: Cyrus' own is taken out of its package.
imapd=/usr/local/lib/restante-tests/cyrus-imapd
if [ ! -x $imapd ]; then
    scratch=$(mktemp -d)
    # The user that apt downloads as must reach it.
    chmod 777 "$scratch"
    (cd "$scratch" && apt-get download -qq cyrus-imapd && dpkg-deb -x cyrus-imapd_*.deb unpacked)
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    "${as_root[@]}" install -D -m 755 "$scratch/unpacked/usr/lib/cyrus/bin/imapd" $imapd
    rm -rf "$scratch"
fi
# dkimpy is the oracle of signatures; DuckDB reads the catalogue, as an engineer would; jsonschema proves
# report.json by its schema.
if ! python3 -c 'import dkim, cryptography, duckdb, jsonschema' 2>/dev/null; then
    # Debian keeps pip from its own Python unless told that this is wanted; older ones need no telling.
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install -q dkimpy cryptography duckdb jsonschema
fi
echo "setup: ready" >&2
