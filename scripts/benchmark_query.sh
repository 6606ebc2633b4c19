#!/usr/bin/env bash
# The figures of queries: what they cost by themselves, and beside DuckDB. Stores the run in perf/runs/.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: benchmark_query.sh [--rounds N] [--samples N] [--name HOST]

Makes logs of 1,000 series x 10,000 samples (plain, sealed, compressed: 3.1 GB in target/benchmark_query, which stay),
runs benchmark_query on one thread over them and query_duckdb.sh --time on one thread and on two, and writes text and
raw data to perf/runs/<date>-<host>-<kernel>/ with command, commit and machine in query.json. Takes some five minutes
on an idle machine.

environment: BINARIES  a directory with metricstream and benchmark_query, built for release already
HELP
}

command="scripts/benchmark_query.sh $*"
rounds=7 samples=10000 host=$(uname -n)
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --rounds) rounds=${2:?} && shift 2 ;;
        --samples) samples=${2:?} && shift 2 ;;
        --name) host=${2:?} && shift 2 ;;
        *) wrong_use ;;
    esac
done
cd "$root"
need_binaries metricstream benchmark_query
export BINARIES

base=perf/runs/$(date -u +%F)-$host-$(uname -r) run=
for number in '' .2 .3 .4 .5 .6 .7 .8 .9; do
    [[ -e $base$number ]] || { run=$base$number && break; }
done
[[ $run ]] || die 1 'there are nine runs of this day already'
# Its directory appears when all of it is there.
draft=$(mktemp -d)
trap 'rm -rf "$draft"' EXIT
dirty=false
[[ -z $(git status --porcelain --untracked-files=no) ]] || dirty=true
load_average=$(cut -d' ' -f1-3 /proc/loadavg)

"$BINARIES/benchmark_query" --samples "$samples" --rounds "$rounds" --raw "$draft/query.jsonl" | tee "$draft/query.txt"
for threads in 1 2; do
    scripts/query_duckdb.sh --time --samples "$samples" --rounds "$rounds" --threads "$threads" \
        --raw "$draft/query_duckdb_$threads.jsonl" | tee -a "$draft/query_duckdb.txt"
done
cat >"$draft/query.json" <<JSON
{
  "command": "${command% }",
  "commit": "$(git rev-parse HEAD)",
  "dirty": $dirty,
  "date": "$(date -u +%FT%TZ)",
  "host": "$host",
  "cpu": "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)",
  "cores": "$(nproc)",
  "kernel": "$(uname -r)",
  "filesystem": "$(stat -f -c %T target)",
  "load_average": "$load_average"
}
JSON
mkdir -p "$run"
cp "$draft"/* "$run/"
printf 'stored in %s\n' "$run"
