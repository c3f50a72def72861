#!/bin/sh
# Counts instructions (callgrind) and allocations of single steps: repeatable where times are not.
#
# Usage: benches/instructions.sh [BYTES ...]      (1024 and 65536 unless told; needs valgrind)
#
# valgrind's processor has no SHA extensions, so a MAC costs several times as many instructions there as it does on a
# machine that has them; `less mac` is the step without one MAC pass over the body.
set -eu
cd "$(dirname "$0")/peers"
target=${CARGO_TARGET_DIR:-target}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

cargo build --release --quiet
cp "$target/release/peers" "$out/peers"
cargo build --release --quiet --features tracing-off
cp "$target/release/peers" "$out/peers-tracing-off"
cargo build --release --quiet --features count-allocations
cp "$target/release/peers" "$out/peers-count-allocations"

TIMES=${TIMES:-500}

instructions() { # BINARY STEP BYTES
    valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*measured*' \
        --callgrind-out-file="$out/callgrind" "$out/$1" step "$2" "$3" $TIMES >"$out/log" 2>&1 ||
        { cat "$out/log" >&2; exit 1; }
    sed -n 's/^summary: //p; s/^totals: //p' "$out/callgrind" | tail -n 1 | awk -v n=$TIMES '{ printf "%d", $1 / n }'
}

for bytes in "${@:-1024 65536}"; do
    for len in $bytes; do
        mac=$(instructions peers mac "$len")
        echo
        echo "| step, $len bytes | instructions | less mac | allocations | reallocations | bytes allocated |"
        echo "|---|---|---|---|---|---|"
        for step in mac verify claim receive receive-without-dedupe app-bare app-floor app-straightforward app-verify \
            app-pipeline app-unwanted; do
            count=$(instructions peers "$step" "$len")
            "$out/peers-count-allocations" step "$step" "$len" $TIMES >"$out/allocations"
            sed 's/[a-z ]*//g; s/,/ | /g' "$out/allocations" | {
                read -r allocations
                case $step in claim | app-bare) less= ;; *) less=$((count - mac)) ;; esac
                echo "| $step | $count | $less | $allocations |"
            }
        done
        with=$(instructions peers app-pipeline "$len")
        without=$(instructions peers-tracing-off app-pipeline "$len")
        echo "| app-pipeline, tracing compiled out | $without | $((without - mac)) | | | |"
        echo
        echo "tracing without a subscriber: $(awk -v a="$with" -v b="$without" -v m="$mac" \
            'BEGIN { printf "%.2f %% of the pipeline, %.2f %% of it less the MAC", 100*(a-b)/b, 100*(a-b)/(b-m) }')"
    done
done
