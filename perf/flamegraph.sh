#!/usr/bin/env bash
# From nothing to a picture of where CPU time goes.
# shellcheck source=perf.bash
source "$(dirname "${BASH_SOURCE[0]}")/perf.bash"

usage() {
    cat <<'HELP'
usage: flamegraph.sh [options] [PID | FILE.data | -- COMMAND…]

Records as record.sh does, or takes its recording, and makes of it folded stacks (.folded), a table of the share of
each module of the server by thread (.modules.txt) and a flamegraph (.svg) to open in a browser. Prints the table and
the names.

  --stacks KIND    as in record.sh [dwarf]
  --title WORDS    above the picture
HELP
    common_help
}

target=() title=
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
        --title)
            (($# > 1)) || die "$wrong_use" "$1 needs a value"
            title=$2
            shift 2
            ;;
        --)
            (($# > 1)) || die "$wrong_use" 'there is no command behind --'
            target=("$@")
            break
            ;;
        -*) die "$wrong_use" "$1 is no option; --help lists them" ;;
        *)
            (($# == 1)) || die "$wrong_use" 'one PID or one recording, and nothing behind it'
            [[ -f $1 ]] || is_running "$1"
            target=("$1")
            shift
            ;;
    esac
done

find_perf
if [[ ${#target[@]} == 1 && -f ${target[0]} ]]; then
    out=${target[0]%.data}
    build_tools
    check_objects "${target[0]}"
else
    choose_event
    choose_stacks
    name_output on-cpu
    if ((${#target[@]} == 0)); then
        start_server_and_load
        record_on_cpu "$server_pid"
        stop_server_and_load
        : "${title:=MetricsStream $commit, on-CPU, $event, $frequency Hz, ${server_flags[*]:+${server_flags[*]}, }load ${load_flags[*]}}"
    else
        build_tools
        record_on_cpu "${target[@]}"
    fi
fi
script_of "$out.data" >"$work/script.txt"
"$tools/flamegraph" collapse --inline <"$work/script.txt" >"$out.folded"
"$tools/flamegraph" draw --title "${title:-On-CPU time}" <"$out.folded" >"$out.svg"
"$tools/flamegraph" modules <"$out.folded" | tee "$out.modules.txt" >&2
printf '%s\n' "$out.folded" "$out.modules.txt" "$out.svg"
