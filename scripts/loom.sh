#!/usr/bin/env bash
# Every loom model: all interleavings of the lock-free code, within loom's bounds.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: loom.sh [FILTER]

Runs the models, tests/loom_*.rs of every package of the workspace, built with --cfg loom into target/loom. With FILTER only the
tests whose names contain it. Exit code: 0 all hold, 1 not, 2 there is none.

environment: LOOM_MAX_PREEMPTIONS  switches between threads per execution (default 3; more takes much longer)
             LOOM_SECONDS          after how long it is given up (default 1800)
HELP
}

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    usage
    exit 0
fi
if (($# > 1)); then
    usage >&2
    exit 2
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3}

shopt -s nullglob
count=0 failed=0
for model in tests/loom_*.rs reactor/tests/loom_*.rs; do
    case $model in
    reactor/*) package=reactor ;;
    *) package=metricstream ;;
    esac
    count=$((count + 1))
    timeout --kill-after=10 "${LOOM_SECONDS:-1800}" \
        cargo test --target-dir target/loom --package "$package" --test "$(basename "$model" .rs)" -- \
        --nocapture ${1:+"$1"} || {
        printf 'loom.sh: %s does not hold\n' "$model" >&2
        failed=1
    }
done
if ((count == 0)); then
    printf 'loom.sh: there is no model: tests/loom_*.rs, reactor/tests/loom_*.rs\n' >&2
    exit 2
fi
exit "$failed"
