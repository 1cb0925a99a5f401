#!/bin/bash
# Fuzzes every target: scripts/fuzz.sh [SECONDS] [TARGET...]. An hour in total by default.
#
# Begins with the corpus in fixtures/fuzz/corpus and what earlier runs left in target/fuzz. What
# breaks a target is left in target/fuzz/artifacts/TARGET, and the script fails; the line of each
# target says how many inputs ran. `scripts/fuzz.sh keep` puts the smallest inputs that reach
# something new into the corpus, which `cargo test -p fuzz` replays.
set -euo pipefail
cd "$(dirname "$0")/.."
all=(ext4 ext4_2014 ext3 xfs_v5 xfs_v4 btrfs labels ddf luks1 luks2 bitlocker contents stores mapfile containers)
# Kept for each target at most, and the longest input that is kept.
most=16
longest=600

if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz: installing cargo-fuzz" >&2
    cargo install --locked --quiet cargo-fuzz
fi

# run TARGET FLAGS...: with the corpora; no sanitizer, as there is no unsafe code of our own.
run() {
    local target=$1
    shift
    mkdir -p "target/fuzz/corpus/$target" "target/fuzz/artifacts/$target" "fixtures/fuzz/corpus/$target"
    CARGO_PROFILE_RELEASE_LTO=off cargo fuzz run --fuzz-dir fuzz --features libfuzzer --sanitizer none --target-dir target/fuzz/build \
        "$target" "target/fuzz/corpus/$target" "fixtures/fuzz/corpus/$target" -- \
        -artifact_prefix="target/fuzz/artifacts/$target/" -timeout=20 -rss_limit_mb=3000 "$@"
}

if [ "${1:-}" = keep ]; then
    for target in "${all[@]}"; do
        merged=$(mktemp -d)
        run "$target" -help=1 >/dev/null 2>&1 || true
        "target/fuzz/build/$(rustc -vV | sed -n 's/host: //p')/release/$target" -merge=1 "$merged" \
            "target/fuzz/corpus/$target" "fixtures/fuzz/corpus/$target" >/dev/null 2>&1
        rm -rf "fixtures/fuzz/corpus/$target" && mkdir -p "fixtures/fuzz/corpus/$target"
        find "$merged" -type f -size -"${longest}"c -printf '%s %p\n' | sort -n | tail -n "$most" |
            while read -r _ path; do cp "$path" "fixtures/fuzz/corpus/$target/"; done
        rm -rf "$merged"
        echo "$target: $(find "fixtures/fuzz/corpus/$target" -type f | wc -l) inputs kept"
    done
    exit
fi

seconds=${1:-$((3600 / ${#all[@]}))}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- "${all[@]}"
failed=0
for target; do
    log=$(mktemp)
    if run "$target" -max_total_time="$seconds" -max_len=2048 -print_final_stats=1 >"$log" 2>&1; then
        result=ok
    else
        result="FAILED, see target/fuzz/artifacts/$target"
        failed=1
        tail -n 30 "$log"
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: $seconds s, ${runs:-?} inputs, $result"
    rm -f "$log"
done
exit $failed
