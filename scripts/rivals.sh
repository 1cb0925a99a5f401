#!/bin/bash
# Installs the tools that `cargo bench -p benches --bench filesystems -- --rivals` runs beside
# restante: ext4magic, extundelete, The Sleuth Kit.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in ext4magic:ext4magic extundelete:extundelete tsk_recover:sleuthkit btrfs:btrfs-progs; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "rivals: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt=(apt-get)
    [ "$(id -u)" = 0 ] || apt=(sudo --preserve-env=DEBIAN_FRONTEND apt-get)
    "${apt[@]}" update -qq
    "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
echo "rivals: ready" >&2
