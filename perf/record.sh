#!/usr/bin/env bash
# Records where CPU time goes, with stacks, for a time that is bounded.
# shellcheck source=perf.bash
source "$(dirname "${BASH_SOURCE[0]}")/perf.bash"

usage() {
    cat <<'HELP'
usage: record.sh [options] [PID | -- COMMAND…]

Records the stacks of a process 999 times a second of CPU time: of PID, of COMMAND, or, given neither, of a server
that it starts itself and puts under load. Prints the name of the recording, for perf report -i or flamegraph.sh.

  --stacks KIND    how stacks are taken: dwarf, from a copy of the stack (16 KiB a sample), or fp, by frame pointers: less to
                   copy, but the caller of a C library function is missing where that library has none [dwarf]
HELP
    common_help
}

target=()
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
        --)
            (($# > 1)) || die "$wrong_use" 'there is no command behind --'
            target=("$@")
            break
            ;;
        -*) die "$wrong_use" "$1 is no option; --help lists them" ;;
        *)
            (($# == 1)) || die "$wrong_use" 'one PID, and nothing behind it'
            is_running "$1"
            target=("$1")
            shift
            ;;
    esac
done

find_perf
choose_event
choose_stacks
name_output on-cpu
if ((${#target[@]} == 0)); then
    start_server_and_load
    record_on_cpu "$server_pid"
    stop_server_and_load
else
    record_on_cpu "${target[@]}"
fi
printf '%s\n' "$out.data"
