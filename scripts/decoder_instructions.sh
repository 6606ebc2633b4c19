#!/usr/bin/env bash
# Instructions of each decoder for one metric, counted by callgrind: repeatable on a noisy machine, where times are not.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: decoder_instructions.sh [--decoder NAME] [PROTOCOL…]

Runs benchmark_decoders under callgrind with one pass over its bodies (some 16,000 metrics) and with three, and
prints what two passes cost for each metric: how a decoder costs once it has seen its agent's series. The names are
those of benchmark_decoders; all protocols without one. 3 s a protocol on an idle machine.
  --decoder NAME  "ours, lines" without it; prost, "prost, lines", serde_json and "serde_json, lines" where there are
Exit code: 0 counted; 1 a decoder failed; 2 wrong use; 3 valgrind is missing.

environment: BINARIES  a directory with benchmark_decoders, built for release already
HELP
}

decoder='ours, lines'
protocols=()
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --decoder) (($# > 1)) || wrong_use && decoder=$2 && shift 2 ;;
        -*) wrong_use ;;
        *) protocols+=("$1") && shift ;;
    esac
done
((${#protocols[@]} > 0)) || protocols=('remote write 1.0' 'remote write 2.0' 'remote write 2.0, a real scrape'
    'remote write 2.0, four real scrapes' 'line protocol' 'text' 'OTLP protobuf' 'OTLP JSON' 'collectd' 'Datadog 1 JSON'
    'Datadog 2 protobuf' 'JSON')
command -v valgrind >/dev/null || die 3 'SKIPPED, nothing was counted: valgrind is not installed (Debian: valgrind)'
need_binaries benchmark_decoders
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# usage: instructions PROTOCOL PASSES: instructions of the whole run; what it printed is in $work/printed.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file="$work/callgrind" "$BINARIES/benchmark_decoders" --protocol "$1" \
        --decode "$2" --decoder "$decoder" >"$work/printed" 2>"$work/errors" || die 1 "$1: $(tail -n 1 "$work/errors")"
    sed -n 's/^summary: //p; s/^totals: //p' "$work/callgrind" | head -n 1
}

printf '%-36s %9s %9s %12s\n' "$decoder" 'bytes in' 'bytes out' 'instructions'
for protocol in "${protocols[@]}"; do
    once=$(instructions "$protocol" 1)
    thrice=$(instructions "$protocol" 3)
    read -r metrics _ bytes_in _ _ bytes_out _ < <(sed 's/.*: //' "$work/printed")
    printf '%-36s %9d %9d %12d\n' "$protocol" $((bytes_in / metrics)) $((bytes_out / metrics)) \
        $(((thrice - once) / 2 / metrics))
done
