#!/usr/bin/env bash
# What a request costs, counted: CPU time by thread, switches, system calls, and the hardware's counters where there
# are any.
# shellcheck source=perf.bash
source "$(dirname "${BASH_SOURCE[0]}")/perf.bash"

usage() {
    cat <<'HELP'
usage: stat.sh [options] [PID [PORT]]

Counts for a time what process PID does, or a server that it starts and puts under load: perf stat (hardware counters
where there are any, software events, system calls where permitted), then for each thread its CPU time, its wait for a
core and its switches, from /proc. With PORT, or its own server, also per batch, from the server's /stats. Writes and
prints -stat.txt.
HELP
    common_help
}

pid='' port=''
while (($# > 0)); do
    shared_option "$@"
    if ((taken)); then
        shift "$taken"
        continue
    fi
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        -*) die "$wrong_use" "$1 is no option; --help lists them" ;;
        *)
            (($# <= 2)) || die "$wrong_use" 'one PID and one PORT, and nothing behind them'
            is_running "$1"
            pid=$1 port=${2:-}
            [[ $port =~ ^[0-9]*$ ]] || die "$wrong_use" "'$port' is not a port"
            shift $#
            ;;
    esac
done

# Sets `events`: those of "$@" that this user may count here, joined by commas. Says which are not.
choose_events() {
    local candidate missing=()
    events=
    for candidate in "$@"; do
        # Before the counts, their names: <not supported> and <not counted> are no numbers.
        if "$perf" stat -x, -e "$candidate" true 2>&1 | grep -qE '^[0-9]'; then
            events+=${events:+,}$candidate
        else
            missing+=("$candidate")
        fi
    done
    ((${#missing[@]} == 0)) || say "not to be counted here: ${missing[*]}"
}

# A line for each thread: id, name, ns on a core, ns waiting for one, voluntary and involuntary switches. schedstat has
# the first two (Documentation/scheduler/sched-stats.rst), status the others (proc_pid_status(5)).
threads_of() { # threads_of PID
    local task ran waited switches
    for task in "/proc/$1/task/"*; do
        read -r ran waited _ <"$task/schedstat" || continue
        switches=$(awk '/ctxt_switches/ { printf " %s", $2 }' "$task/status") || continue
        printf '%s %s %s %s%s\n' "${task##*/}" "$(tr ' ' '_' <"$task/comm")" "$ran" "$waited" "$switches"
    done
}

# Asks for the statistics; the time of asking goes before them, since curl and this script take a while on a busy
# machine.
ask_stats() { # ask_stats FILE
    date +%s%N >"$1"
    curl -fsS --max-time 5 "http://127.0.0.1:$port/stats" >>"$1" || die 1 "no statistics from port $port"
}

# Sets `rate`: the batches stored in a second, from two such files.
batch_rate() { # batch_rate BEFORE AFTER
    rate=$(python3 - "$1" "$2" <<'PY'
import json, sys
(t0, n0), (t1, n1) = ((int(f.readline()), json.load(f)["batches"]["stored"]) for f in map(open, sys.argv[1:]))
print((n1 - n0) / ((t1 - t0) / 1e9))
PY
    )
}

find_perf
choose_event
counters=(cycles instructions branches branch-misses cache-references cache-misses task-clock)
if [[ $event != *:u ]]; then
    # They happen in the kernel: where its side is left out they would all be reported as 0.
    counters+=(context-switches cpu-migrations minor-faults major-faults raw_syscalls:sys_enter)
fi
choose_events "${counters[@]}"
if [[ $events != *sys_enter* ]]; then
    cat >&2 <<ADVICE
$script: system calls are not counted: kernel.perf_event_paranoid is $(setting perf_event_paranoid). Run it as root, or:
    sudo sysctl kernel.perf_event_paranoid=-1 && sudo mount -o remount,mode=755 /sys/kernel/tracing
ADVICE
fi
name_output stat
if [[ -z $pid ]]; then
    start_server_and_load
    watched=$server_pid port=$server_port
else
    watched=$pid
fi

# What perf counts from its start to the end of this is what the threads' figures are of: one span, so that both agree.
look() { # look PID PORT SECONDS WORK
    threads_of "$1" >"$4/threads.before"
    date +%s%N >"$4/span"
    [[ -z $2 ]] || ask_stats "$4/stats.before"
    sleep "$3"
    [[ -z $2 ]] || ask_stats "$4/stats.after"
    threads_of "$1" >"$4/threads.after"
    date +%s%N >>"$4/span"
}
export -f look threads_of ask_stats die say
export port name
"$perf" stat -e "$events" -p "$watched" -o "$work/perf.txt" -- \
    bash -c 'look "$@"' look "$watched" "$port" "$seconds" "$work" 2>"$work/stat.log" >&2 ||
    die 1 "perf stat: $(head -n 3 "$work/stat.log")"
{ read -r started_ns && read -r ended_ns; } <"$work/span"
rate=0
[[ -z $port ]] || batch_rate "$work/stats.before" "$work/stats.after"
[[ -n $pid ]] || stop_server_and_load

{
    grep -vE '^(#.*)?$' "$work/perf.txt"
    printf '\n%-18s %10s %8s %12s %12s %12s %14s\n' thread 'CPU ms' 'core %' 'waiting ms' 'gave up' 'pushed off' 'CPU us/batch'
    awk -v span_ns=$((ended_ns - started_ns)) -v rate="$rate" '
        BEGIN { span = span_ns / 1e9; batches = rate * span }
        NR == FNR { ran[$1] = $3; waited[$1] = $4; gave[$1] = $5; pushed[$1] = $6; next }
        {
            cpu = $3 - ran[$1]; all += cpu; waits += $4 - waited[$1]
            gives += $5 - gave[$1]; pushes += $6 - pushed[$1]; switches = gives + pushes
            each = batches ? sprintf("%.3f", cpu / 1000 / batches) : "-"
            printf "%-18s %10.1f %8.1f %12.1f %12d %12d %14s\n", $2, cpu / 1e6, cpu * 100 / span_ns, ($4 - waited[$1]) / 1e6, \
                $5 - gave[$1], $6 - pushed[$1], each
        }
        END {
            printf "%-18s %10.1f %8.1f %12.1f %12d %12d %14s\n", "all", all / 1e6, all * 100 / span_ns, waits / 1e6, gives, pushes, \
                batches ? sprintf("%.3f", all / 1000 / batches) : "-"
            print "\ntask-clock counts interrupts and time stolen by the hypervisor, too; the threads\047 CPU ms do not."
            if (batches) printf "\n%.0f batches a second; of each %.3f us CPU, %.4f switches\n", \
                rate, all / 1000 / batches, switches / batches
        }' "$work/threads.before" "$work/threads.after"
    awk -v rate="$rate" '
        /raw_syscalls:sys_enter/ { calls = $1; gsub(/[^0-9]/, "", calls) }
        /seconds time elapsed/ && calls && rate > 0 { printf "%.3f system calls a batch\n", calls / $1 / rate }' "$work/perf.txt"
} | tee "$out.txt"
printf '%s\n' "$out.txt"
