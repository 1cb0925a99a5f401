#!/bin/bash
# Installs the tools that `cargo bench -p benches --bench carving -- --peers` runs beside restante:
# PhotoRec, foremost, scalpel, magicrescue, and forsmost by cargo.
#
# bulk_extractor is not in Debian 12 and takes long to build with its submodules. The bench runs
# it where it is installed.
set -euo pipefail
missing=()
for pair in photorec:testdisk foremost:foremost scalpel:scalpel magicrescue:magicrescue perl:perl \
    /usr/bin/time:time prlimit:util-linux; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if ! command -v bulk_extractor >/dev/null; then
    if apt-cache show bulk-extractor >/dev/null 2>&1; then
        missing+=(bulk-extractor)
    else
        echo "carvers: bulk_extractor is in no package source here, so it is left out" >&2
    fi
fi
if [ ${#missing[@]} -gt 0 ]; then
    echo "carvers: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt=(apt-get)
    [ "$(id -u)" = 0 ] || apt=(sudo --preserve-env=DEBIAN_FRONTEND apt-get)
    "${apt[@]}" update -qq
    "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
command -v forsmost >/dev/null || [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/forsmost" ] ||
    cargo install --quiet --locked forsmost@0.1.1
echo "carvers: ready" >&2
