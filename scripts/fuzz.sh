#!/usr/bin/env bash
# Builds the fuzz targets, runs them over corpora that grow from run to run, and minimises what they find.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: fuzz.sh [TARGET…] [--seconds N | --executions N] [--jobs N] [--merge] [--store FILE]
       fuzz.sh --list

Runs the targets in fuzz/fuzz_targets, all of them without a name: bytes that a client can send and a disk can hold,
against oracles (serde_json, prost, httparse, regex, one-shot decompressors, big integers, the other driver).

--seconds N     time for all targets together [default: 60]; each has an equal part, and one second at least
--executions N  executions of each target instead
--jobs N        targets that run at the same time [default: 1]
--merge         drops what adds no coverage from the corpora first
--store FILE    appends the table to FILE, with the commit of the sources
--list          prints the names of the targets

Prints a table: target, executions, executions per second, coverage (edges), inputs in its corpus, findings. A finding
is minimised, and kept with its input; run the target again with that file to see it:
target/fuzz/x86_64-unknown-linux-gnu/release/TARGET FILE. Corpora stay in target/fuzz/corpus, seeds are made anew from
the tests by fuzz/seeds.py. Needs a nightly toolchain (rustup toolchain install nightly), a C++ compiler and python3;
cargo-fuzz is installed into target/tools when it is missing.

Exit code: 0 nothing found, 1 findings, 2 wrong arguments or the targets do not build, 3 a tool is missing.
HELP
}

help_option "$@"
targets=() seconds=60 executions='' jobs=1 merge=0 list=0 store=''
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --seconds) seconds=${2:?} && shift 2 ;;
        --executions) executions=${2:?} && shift 2 ;;
        --jobs) jobs=${2:?} && shift 2 ;;
        --merge) merge=1 && shift ;;
        --store) store=${2:?} && shift 2 ;;
        --list) list=1 && shift ;;
        -*) wrong_use ;;
        *) targets+=("$1") && shift ;;
    esac
done
[[ -z $store ]] || store=$(realpath -m "$store")
cd "$root"
mapfile -t known < <(basename -s .rs fuzz/fuzz_targets/*.rs)
if ((list)); then
    printf '%s\n' "${known[@]}"
    exit 0
fi
((${#targets[@]} > 0)) || targets=("${known[@]}")
for target in "${targets[@]}"; do
    [[ -f fuzz/fuzz_targets/$target.rs ]] || die 2 "there is no target $target; --list names them"
done
for number in "$seconds" "${executions:-1}" "$jobs"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || wrong_use
done

missing() {
    say "SKIPPED, nothing was checked: $1"
    exit 3
}
cargo +nightly --version >/dev/null 2>&1 || missing 'no nightly toolchain (rustup toolchain install nightly)'
command -v c++ >/dev/null || missing 'no C++ compiler (Debian: apt-get install g++)'
command -v python3 >/dev/null || missing 'no python3 (Debian: apt-get install python3)'

version=0.13.1
work=${CARGO_TARGET_DIR:-$root/target}
tools=$work/tools/cargo-fuzz-$version
work=$work/fuzz
if [[ ! -x $tools/bin/cargo-fuzz ]]; then
    say "installing cargo-fuzz $version into $tools"
    cargo install --quiet --locked --root "$tools" "cargo-fuzz@$version" || exit 2
fi
export PATH=$tools/bin:$PATH

# The versions of the dependencies are those of the workspace.
[[ ! Cargo.lock -nt fuzz/Cargo.lock ]] || cp Cargo.lock fuzz/Cargo.lock

# No sanitizer: nothing here but the drivers and zstd has unsafe code, and those scripts/sanitize.sh runs. Dead code is
# left out, as its counters would be looked through after each execution.
only=()
((${#targets[@]} > 1)) || only=("${targets[0]}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cargo +nightly fuzz build --sanitizer none --strip-dead-code --target-dir "$work" "${only[@]}" >"$log" 2>&1; then
    cat "$log" >&2
    die 2 'the targets do not build'
fi
python3 -B fuzz/seeds.py "$work"

# usage: run_target TARGET: runs it, and minimises a finding. Writes its row to $work/rows/TARGET.
run_target() {
    local target=$1 binary=$work/x86_64-unknown-linux-gnu/release/$1
    local corpus=$work/corpus/$1 findings=$work/findings/$1 output=$work/logs/$1
    local limit=(-max_total_time="$share")
    [[ -z $executions ]] || limit=(-runs="$executions")
    mkdir -p "$corpus" "$findings"
    if ((merge)) && [[ -n $(ls "$corpus") ]]; then
        rm -rf "$corpus.merged"
        mkdir "$corpus.merged"
        if "$binary" -merge=1 "$corpus.merged" "$corpus" >"$output" 2>&1; then
            rm -r "$corpus"
            mv "$corpus.merged" "$corpus"
        fi
    fi
    [[ ! -s $work/dictionaries/$target ]] || limit+=(-dict="$work/dictionaries/$target")
    local found executed rate coverage code=0
    "$binary" "${limit[@]}" -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 -artifact_prefix="$findings/" \
        "$corpus" "$work/seeds/$target" >"$output" 2>&1 || code=$?
    found=$(sed -nE 's/.*Test unit written to (.*)/\1/p' "$output" | tail -n 1)
    # One that ends otherwise did not run.
    ((code == 0)) || [[ -n $found ]] || found=none
    if [[ -f $found ]]; then
        "$binary" -minimize_crash=1 -max_total_time=20 -timeout=20 -artifact_prefix="$findings/" \
            -exact_artifact_path="$findings/minimised-$(basename "$found")" "$found" >"$output.minimised" 2>&1 || true
    fi
    executed=$(sed -nE 's/^stat::number_of_executed_units: *//p' "$output")
    rate=$(sed -nE 's/^stat::average_exec_per_sec: *//p' "$output")
    coverage=$(sed -nE 's/.* cov: ([0-9]+).*/\1/p' "$output" | tail -n 1)
    # A finding ends a target, and libFuzzer then has no statistics.
    [[ -n $executed ]] || executed=$(sed -nE 's/^#([0-9]+).*/\1/p' "$output" | tail -n 1)
    printf '%-17s %12s %12s %9s %8s %9s\n' "$target" "${executed:-0}" "${rate:--}" "${coverage:--}" \
        "$(find "$corpus" -type f | wc -l)" "${found:+1}" >"$work/rows/$target"
}

rm -rf "$work/rows"
mkdir -p "$work/rows" "$work/logs"
share=$((seconds * jobs / ${#targets[@]}))
((share > 0)) || share=1
for target in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do
        wait -n || true
    done
    run_target "$target" &
done
wait

# The table of all targets.
table() {
    printf '%-17s %12s %12s %9s %8s %9s\n' target executions 'executions/s' coverage corpus findings
    for target in "${targets[@]}"; do
        cat "$work/rows/$target"
    done
    awk '{sum += $2} END {printf "%-17s %12d\n", "all", sum}' "$work"/rows/*
}

table
if [[ -n $store ]]; then
    commit=$(git rev-parse --short=10 HEAD)
    [[ -z $(git status --porcelain) ]] || commit+=', with changes'
    {
        printf '\n%s, commit %s, %s\n\n' "$(date --utc '+%Y-%m-%d %H:%M UTC')" "$commit" \
            "${executions:-$share s}${executions:+ executions} of each target"
        table
    } >>"$store"
fi
code=0
for target in "${targets[@]}"; do
    if [[ $(awk '{print $6}' "$work/rows/$target") == 1 ]]; then
        code=1
        sed -nE "/panicked at|ERROR: libFuzzer/,+2p" "$work/logs/$target" | head -n 4 | cut -c 1-300
        sed -nE 's/.*Test unit written to (.*)/  input: \1/p' "$work/logs/$target"
    fi
done
exit "$code"
