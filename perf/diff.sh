#!/usr/bin/env bash
# What has changed between two recordings.
# shellcheck source=perf.bash
source "$(dirname "${BASH_SOURCE[0]}")/perf.bash"

usage() {
    cat <<'HELP'
usage: diff.sh [options] [A B]

Draws two flamegraphs, one with the widths of B (-after.svg) and one with those of A (-before.svg): red frames have a
larger inclusive share in B than in A, blue ones a smaller, white ones the same within chance. Writes and prints a
table of the functions that gained and lost most (-changes.txt), then the names of the files. A and B are .folded
files of flamegraph.sh or offcpu.sh, or .data recordings of record.sh. Given nothing it records two servers one after
the other, A on epoll and B on io_uring.

  --stacks KIND    as in record.sh [dwarf]
HELP
    common_help
}

files=()
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
            [[ -f $1 ]] || die "$wrong_use" "there is no file $1"
            # Its switches are no samples: offcpu.sh has made times of them.
            [[ $1 != *-off-cpu.data ]] || die "$wrong_use" "of a recording of offcpu.sh take ${1%.data}.folded"
            files+=("$1")
            shift
            ;;
    esac
done
((${#files[@]} == 0 || ${#files[@]} == 2)) || die "$wrong_use" 'two files, A and B, or none'

fold() { # fold FILE FOLDED: the folded stacks of a recording, or of what is folded already
    if [[ $1 == *.data ]]; then
        check_objects "$1"
        script_of "$1" >"$work/script.txt"
        "$tools/flamegraph" collapse --inline <"$work/script.txt" >"$2"
    elif [[ ! $1 -ef $2 ]]; then
        cp "$1" "$2"
    fi
}

find_perf
if ((${#files[@]} == 0)); then
    choose_event
    choose_stacks
    common_flags=("${server_flags[@]}")
    for driver in epoll io_uring; do
        server_flags=("${common_flags[@]}" --driver "$driver")
        name_output "on-cpu-$driver"
        say "recording $driver"
        start_server_and_load
        record_on_cpu "$server_pid"
        stop_server_and_load
        fold "$out.data" "$out.folded"
        files+=("$out.folded")
        rm -rf "$work/data"
    done
    title="MetricsStream $commit, on-CPU: io_uring compared with epoll, load ${load_flags[*]}"
else
    build_tools
    title="$(basename "${files[1]}") compared with $(basename "${files[0]}")"
fi
name_output diff
fold "${files[0]}" "$work/before.folded"
fold "${files[1]}" "$work/after.folded"
"$tools/flamegraph" changes "$work/before.folded" "$work/after.folded" | tee "$out-changes.txt" >&2
for widths in before after; do
    "$tools/flamegraph" diff --widths "$widths" --title "$title" "$work/before.folded" "$work/after.folded" >"$out-$widths.svg"
done
printf '%s\n' "$out-changes.txt" "$out-before.svg" "$out-after.svg"
