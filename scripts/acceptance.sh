#!/usr/bin/env bash
# The acceptance run: a real file into every driver and level, compared digit for digit, and the exactness of the
# limiter.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: acceptance.sh

Builds the release binary, then
  - for each driver (io_uring, epoll) and level (memory, write, fsync): starts a server on a free port and an empty
    directory, posts bench/data/node_exporter.ndjson with send_file.sh, stops it, compares the log with check_log.py;
  - for each driver and 2, 3 and 4 reactors: fifteen quick requests with a limit of 10, each on a new connection, which
    must give exactly ten 200 and five 429.
Prints a table. Exit code: 0 all passed, 1 not.

environment: BINARIES  a directory with metricstream, built already
HELP
}

no_arguments "$@"

# shellcheck source=server.bash
source "$scripts/server.bash"
for tool in curl python3; do
    command -v "$tool" >/dev/null || die 2 "$tool is not installed"
done
need_binaries metricstream

work=$(mktemp -d)
trap 'stop_server || true; rm -rf "$work"' EXIT
failed=0

row() {
    local verdict=$1
    shift
    printf '%-10s %-14s %-44s %s\n' "$@" "$verdict"
    [[ $verdict == pass ]] || failed=1
}

printf '%-10s %-14s %-44s %s\n' driver setting outcome verdict
data=$root/bench/data/node_exporter.ndjson
for driver in io_uring epoll; do
    for ack in memory write fsync; do
        directory=$work/$driver-$ack
        verdict=FAIL outcome='it did not start'
        if start_server "$BINARIES/metricstream" "$directory.log" --driver "$driver" --ack "$ack" --data-dir "$directory"; then
            outcome=$("$scripts/send_file.sh" "$data" "http://127.0.0.1:$server_port/metrics" 2>&1) && sent=0 || sent=1
            stopped=0
            stop_server || stopped=$?
            checked=$(python3 "$scripts/check_log.py" "$data" "$directory/metrics.jsonl" 2>&1) && equal=0 || equal=1
            outcome="$checked"
            if ((sent + stopped + equal == 0)); then
                verdict=pass
            else
                outcome="sent: $sent, exit code: $stopped, $checked"
            fi
        fi
        row "$verdict" "$driver" "ack $ack" "$outcome"
    done
done

batch='{"metrics":[{"name":"quick","value":1}]}'
for driver in io_uring epoll; do
    for reactors in 2 3 4; do
        directory=$work/$driver-$reactors
        verdict=FAIL outcome='it did not start'
        if start_server "$BINARIES/metricstream" "$directory.log" --driver "$driver" --reactors "$reactors" --rate-limit 10 \
            --data-dir "$directory"; then
            # Only a trial within one second says anything; a new client each time, at most ten trials.
            for trial in $(seq 10); do
                began=$(date +%s%N)
                for _ in $(seq 15); do
                    curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}\n' \
                        --header "Authorization: trial-$trial" --data "$batch" "http://127.0.0.1:$server_port/metrics" || true
                done >"$directory.codes"
                took_ms=$((($(date +%s%N) - began) / 1000000))
                allowed=$(grep -c '^200$' "$directory.codes" || true)
                refused=$(grep -c '^429$' "$directory.codes" || true)
                outcome="$allowed x 200, $refused x 429 in $took_ms ms"
                ((took_ms >= 1000)) || break
            done
            if ((allowed == 10 && refused == 5)); then
                verdict=pass
            fi
            stop_server || verdict=FAIL
        fi
        row "$verdict" "$driver" "$reactors reactors" "$outcome"
    done
done
exit "$failed"
