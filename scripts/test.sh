#!/bin/bash
# Runs all tests, after installing what they need: README's second command.
#
# The tests mount loop devices and tmpfs, so they run as root. Arguments go to `cargo test`:
# `scripts/test.sh -p aggregate`. Where the folder `shared/` lies beside the repository, its
# incidents are recovered too.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
PATH=$PATH:/usr/sbin:/sbin
if [ $# -eq 0 ]; then
    set -- --workspace
fi
cargo test --locked "$@"
