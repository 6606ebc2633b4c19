#!/usr/bin/env bash
# `metricstream query` beside DuckDB, which reads the same files with read_json: the same results, and the time they
# take.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: query_duckdb.sh [--queries N] [--seed N]
       query_duckdb.sh --time [--threads N] [--rounds N] [--samples N] [--raw FILE]

Installs DuckDB from PyPI into target/duckdb; where that is unavailable, says so and exits 0.

The first form makes a log of the real scrapes and of series that are NaN or infinite now and then, in a compressed, a
plain and the active segment, asks both 300 queries made at random, and compares each value: stored values, counts and
percentiles exactly, sums, means, deviations, increases and rates to nine digits; and how many values that are NaN or
infinite were skipped. The second makes a log of 1,000 series x 10,000 samples in one plain file (1.5 GB;
it stays in target/benchmark_query) and times the mean of one name, in turns on the same number of threads. Exit code:
0 the results are the same or it was skipped, 1 they are not, 2 wrong arguments.

environment: BINARIES  a directory with metricstream and benchmark_query, built already
HELP
}

cd "$root"
is_timed=0 samples=10000 arguments=()
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --time) is_timed=1 && shift ;;
        --samples) samples=${2:?} && shift 2 ;;
        --queries | --seed | --threads | --rounds | --raw) arguments+=("$1" "${2:?}") && shift 2 ;;
        *) wrong_use ;;
    esac
done

venv=target/duckdb
need_tools 'Debian: apt-get install python3 python3-venv' python3
if ! "$venv/bin/python" -c 'import duckdb' 2>/dev/null; then
    python3 -m venv "$venv" >/dev/null 2>&1 || skip 'python3 cannot make a venv here'
    "$venv/bin/pip" install --quiet --disable-pip-version-check duckdb >/dev/null 2>&1 || skip 'DuckDB cannot be installed from PyPI'
fi
need_binaries metricstream benchmark_query
if ((is_timed)); then
    made=$("$BINARIES/benchmark_query" --make --samples "$samples")
    name=${made##* } made=${made% *}
    exec "$venv/bin/python" scripts/query_duckdb.py "$BINARIES/metricstream" "$made/plain" --time "$name" "${arguments[@]}"
fi
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
"$BINARIES/benchmark_query" --scrapes "$directory"
"$venv/bin/python" scripts/query_duckdb.py "$BINARIES/metricstream" "$directory" "${arguments[@]}"
