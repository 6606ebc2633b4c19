#!/usr/bin/env bash
# Where threads wait, and for how long: the other half of a flamegraph of CPU time.
# shellcheck source=perf.bash
source "$(dirname "${BASH_SOURCE[0]}")/perf.bash"

usage() {
    cat <<'HELP'
usage: offcpu.sh [options] [PID]

Follows the threads of PID, or of a server that it starts and puts under load, through the scheduler's tracepoints
(sched_switch, sched_wakeup), and draws the microseconds off a core by stack: [blocked] until the thread was woken,
then [waits for a core] until it ran. Writes .folded and .svg; prints their names.

That needs root, or perf_event_paranoid -1 and a readable tracefs. Without it the switches themselves are sampled
(perf_event_paranoid 1): how often each stack leaves its core, not for how long.

  --stacks KIND    as in record.sh [dwarf]
HELP
    common_help
}

# A thread that waits is not deep in its stack, and each switch is a sample.
# shellcheck disable=SC2034 # perf.bash reads it.
stack_bytes=4096
pid=
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
            (($# == 1)) || die "$wrong_use" 'one PID, and nothing behind it'
            is_running "$1"
            pid=$1
            shift
            ;;
    esac
done

# The filters are evaluated in the kernel; it takes one page of text each, and a thread has up to 60 bytes in it.
readonly filtered_threads_max=64

# Sets `threads`, and `events`: who leaves a core, with the stack; who gets one from somebody else; who is woken.
# Without the filters every switch of the machine is written down.
follow_threads() { # follow_threads PID
    local ids=("/proc/$1/task/"*) id leaves='' gets='' others='' woken=''
    ids=("${ids[@]##*/}")
    threads=$(IFS=,; printf '%s' "${ids[*]}")
    events=(--call-graph "$call_graph" -e sched:sched_switch)
    if ((${#ids[@]} > filtered_threads_max)); then
        say "more than $filtered_threads_max threads: all switches of the machine are recorded"
        events+=(-e sched:sched_wakeup/call-graph=no/)
        return
    fi
    for id in "${ids[@]}"; do
        leaves+="${leaves:+||}prev_pid==$id" gets+="${gets:+||}next_pid==$id"
        others+="&&prev_pid!=$id" woken+="${woken:+||}pid==$id"
    done
    events+=(--filter "$leaves" -e sched:sched_switch/call-graph=no/ --filter "($gets)$others")
    events+=(-e sched:sched_wakeup/call-graph=no/ --filter "$woken")
}

# Writes down who sleeps before the recording begins, with the kernel's stack of each: a thread that does not wake up
# while it is recorded has no event.
snapshot_threads() { # snapshot_threads PID
    local task state
    for task in "/proc/$1/task/"*; do
        # Behind the name, which may hold anything, in brackets.
        state=$(sed -E 's/^.*\) ([A-Za-z]).*/\1/' "$task/stat" 2>/dev/null) || continue
        printf '%s %s %s\n' "${task##*/}" "$state" "$(cat "$task/comm")"
        { sed 's/^/\t/' "$task/stack" || sed 's/.*/\t&\n/' "$task/wchan"; } 2>/dev/null || true
    done
}

find_perf
choose_event
if "$perf" record -q -a -e sched:sched_switch -o "$work/probe" -- true >"$work/probe.log" 2>&1; then
    has_tracepoints=1
else
    has_tracepoints=0
    cat >&2 <<ADVICE
$script: no scheduler tracepoints for this user: kernel.perf_event_paranoid is $(setting perf_event_paranoid). Run it as root, or:
    sudo sysctl kernel.perf_event_paranoid=-1 && sudo mount -o remount,mode=755 /sys/kernel/tracing
ADVICE
    if [[ $event == *:u ]]; then
        # With the kernel's side left out there is no switch to see: they all happen there.
        say 'and no switches to sample: that needs kernel.perf_event_paranoid=1'
        exit "$not_permitted"
    fi
    say 'sampling the switches instead: how often, not how long'
fi
choose_stacks
name_output off-cpu
if [[ -z $pid ]]; then
    start_server_and_load
    watched=$server_pid
else
    build_tools
    watched=$pid
fi

keep_executable "$watched"
if ((has_tracepoints)); then
    follow_threads "$watched"
    snapshot_threads "$watched" >"$work/snapshot.txt"
    "$perf" record -q -a -m 4M -o "$out.data" "${events[@]}" -- sleep "$seconds" 2>"$work/record.log" >&2 ||
        die 1 "perf record: $(head -n 3 "$work/record.log")"
    unit=us title="MetricsStream $commit, off-CPU, ${seconds} s"
else
    "$perf" record -q -e context-switches -c 1 --call-graph "$call_graph" -p "$watched" -o "$out.data" \
        -- sleep "$seconds" 2>"$work/record.log" >&2 || die 1 "perf record: $(head -n 3 "$work/record.log")"
    unit=switches title="MetricsStream $commit, switches off the core (how often, not how long), ${seconds} s"
fi
title+=${load_flags[*]:+, load ${load_flags[*]}}
grep -iE 'lost [0-9]+' "$work/record.log" >&2 || true
[[ -n $pid ]] || stop_server_and_load

script_of "$out.data" >"$work/script.txt"
if ((has_tracepoints)); then
    "$tools/flamegraph" offcpu --inline --threads "$threads" --snapshot "$work/snapshot.txt" --seconds "$seconds" <"$work/script.txt" >"$out.folded"
else
    "$tools/flamegraph" collapse --inline <"$work/script.txt" >"$out.folded"
fi
"$tools/flamegraph" draw --palette waiting --unit "$unit" --title "$title" <"$out.folded" >"$out.svg"
printf '%s\n' "$out.folded" "$out.svg"
