# Sourced by perf/*.sh: the options they share, perf and what the kernel lets it see, a server under load, names of
# outputs. shellcheck shell=bash

perf_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../scripts/prologue.bash
source "$perf_dir/../scripts/prologue.bash"
# shellcheck source=../scripts/server.bash
source "$root/scripts/server.bash"

seconds=5
stacks=dwarf
frequency=999 # Not 1000: in step with no timer.
stack_bytes=16384
server_flags=()
load_flags=()
smoke=0
work=$(mktemp -d)
load_pid=
placed=
target_dir=${CARGO_TARGET_DIR:-$root/target}

# Exit codes of all the scripts.
readonly wrong_use=2 not_permitted=3

clean_up() {
    local code=$?
    trap - EXIT
    if [[ -n $load_pid ]]; then
        kill -TERM "$load_pid" 2>/dev/null || true
        wait "$load_pid" 2>/dev/null || true
    fi
    stop_server || true
    [[ -z $placed ]] || rm -f "$placed"
    rm -rf "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

common_help() {
    cat <<'HELP'
options:
  --seconds N      how long to look [5]
  --smoke          one second, few clients: does it work here?
  --server FLAGS   more flags for the server it starts, such as '--driver epoll'
  --load FLAGS     other flags for load_test than '-c 64', such as '-c 500 --batch 100'
  -h, --help       this

environment: BINARIES   directory of metricstream, load_test and flamegraph, built already (else they are built: the server with
                        the profile "profiling" and frame pointers)
             PERF       the perf to use
             PERF_OUT   where the outputs go [perf/out]

exit code: 0 done, 1 failed, 2 wrong use, 3 not permitted here (it says what to change)
HELP
}

# Takes one shared option from "$@" and sets `taken` to the number of words it had, 0 if the first word is none of them.
# shellcheck disable=SC2034 # Its callers read what it sets.
shared_option() {
    taken=2
    case $1 in
        --smoke) smoke=1 seconds=1 taken=1 ;;
        --seconds | --server | --load | --stacks)
            (($# > 1)) || die "$wrong_use" "$1 needs a value"
            case $1 in
                --seconds)
                    [[ $2 =~ ^[1-9][0-9]{0,2}$ ]] || die "$wrong_use" "--seconds is 1 to 999"
                    seconds=$2
                    ;;
                --server) read -ra server_flags <<<"$2" ;;
                --load) read -ra load_flags <<<"$2" ;;
                --stacks)
                    [[ $2 == dwarf || $2 == fp ]] || die "$wrong_use" "--stacks is dwarf or fp"
                    stacks=$2
                    ;;
            esac
            ;;
        *) taken=0 ;;
    esac
}

# Sets `perf`. Debian before 12 and Ubuntu have a wrapper in its place that refuses a kernel it has no package for; the
# perf of another version serves as well: it asks the kernel what it can do (perf_event_open(2), attr.size).
find_perf() {
    perf=${PERF:-}
    if [[ -n $perf ]]; then
        "$perf" --version >/dev/null 2>&1 || die "$wrong_use" "PERF=$perf cannot be run, or is no perf"
        return 0
    fi
    if ! command -v perf >/dev/null; then
        local as_root=()
        ((EUID == 0)) || as_root=(sudo -n)
        command -v apt-get >/dev/null || die 1 "perf is not installed: install the linux-perf (linux-tools) of your system"
        say 'perf is not installed: apt-get install linux-perf'
        { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq linux-perf; } >&2 ||
            die 1 'it could not be installed: apt-get install linux-perf'
    fi
    local candidate
    while read -r candidate; do
        if "$candidate" --version >/dev/null 2>&1; then
            perf=$candidate
            local version kernel
            version=$("$perf" --version | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
            kernel=$(uname -r | grep -oE '^[0-9]+\.[0-9]+')
            [[ $version == "$kernel" ]] || say "perf is of Linux $version, the kernel is $kernel: what both know works"
            return 0
        fi
    done < <(
        command -v perf
        find /usr/bin /usr/lib/linux-tools* -name 'perf*' -type f -perm -u+x 2>/dev/null | grep -E '/perf(_[0-9.]+)?$' | sort -rV
    )
    die 1 "there is a perf, but none that runs on this kernel: $(perf --version 2>&1 | head -n 1)"
}

setting() { cat "/proc/sys/kernel/$1" 2>/dev/null || echo '?'; }

# Whether perf may record EVENT of its own processes, in user mode (u) or in the kernel (k).
may_record() { # may_record EVENT[:MODE]
    "$perf" record -q -e "$1" -o "$work/probe" -- true >"$work/probe.log" 2>&1
}

# Sets `event`: cycles where there are hardware counters, else the kernel's clock; both with the kernel's side if
# permitted. Ends the script, with advice, where nothing is permitted.
choose_event() {
    local clock=cpu-clock
    event=cycles
    # A virtual machine without counters says <not supported>, or counts none.
    if ! "$perf" stat -x, -e cycles:u true 2>&1 | grep -qE '^[1-9][0-9]*,'; then
        event=$clock
    fi
    if ! may_record "$event:u"; then
        cat >&2 <<ADVICE
$script: the kernel does not let this user measure: $(head -n 1 "$work/probe.log")
  kernel.perf_event_paranoid is $(setting perf_event_paranoid); an ordinary user needs 2 for its own code, 1 for the kernel's too:
    sudo sysctl kernel.perf_event_paranoid=1
  In a container, seccomp may forbid perf_event_open(2): add the capability PERFMON.
ADVICE
        exit "$not_permitted"
    fi
    if [[ $event == "$clock" ]]; then
        say "no hardware counters here (a virtual machine?): the kernel's clock ($clock) instead"
    fi
    if ! may_record "$event:k"; then
        cat >&2 <<ADVICE
$script: kernel frames are left out: kernel.perf_event_paranoid is $(setting perf_event_paranoid), and they need 1:
    sudo sysctl kernel.perf_event_paranoid=1
ADVICE
        event=$event:u
    elif ! grep -qvE '^0+ ' <(head -n 1 /proc/kallsyms); then
        cat >&2 <<ADVICE
$script: kernel frames have no names: kernel.kptr_restrict is $(setting kptr_restrict), and they need 0 (or root):
    sudo sysctl kernel.kptr_restrict=0 kernel.perf_event_paranoid=1
ADVICE
    fi
}

# Sets `call_graph`. The reactor's turn, with parser and encoder inlined into it, has kilobytes of stack.
choose_stacks() {
    call_graph=fp
    [[ $stacks == dwarf ]] || return 0
    if "$perf" record -q -e "$event" --call-graph "dwarf,$stack_bytes" -o "$work/probe" -- true >"$work/probe.log" 2>&1; then
        call_graph=dwarf,$stack_bytes
    else
        say "this perf cannot unwind by DWARF: stacks by frame pointers ($(head -n 1 "$work/probe.log"))"
    fi
}

# Records where the CPU time goes, of process $1 or of the command behind --, for $seconds into $out.data.
record_on_cpu() {
    local target=(-p "$1" -- sleep "$seconds") limit=()
    [[ $1 == -- ]] || keep_executable "$1"
    if [[ $1 == -- ]]; then
        target=("$@")
        # The command is ended with the recording.
        limit=(timeout --signal=INT --kill-after=10 "$seconds")
    fi
    "${limit[@]}" "$perf" record -q -e "$event" -F "$frequency" --call-graph "$call_graph" -o "$out.data" "${target[@]}" \
        2>"$work/record.log" >&2 || true
    [[ -s $out.data ]] || die 1 "perf recorded nothing: $(grep -v '^$' "$work/record.log" | head -n 3)"
    # Said of samples that came faster than perf could write them down.
    grep -iE 'lost [0-9]+' "$work/record.log" >&2 || true
}

# A program that was rebuilt while it runs is "PATH (deleted)" to perf, which can then neither name its frames nor
# unwind through them. The kernel still has its file: it is put under that very name until the script ends, and kept as
# $out.exe.
keep_executable() { # keep_executable PID
    local path
    path=$(readlink "/proc/$1/exe" 2>/dev/null) || return 0
    [[ $path == *' (deleted)' ]] || return 0
    say "its binary was replaced while it runs: names come from the one that runs"
    cp "/proc/$1/exe" "$out.exe"
    place_executable "$path" "$out.exe"
}

place_executable() { # place_executable PATH FILE
    [[ ! -e $1 ]] || return 0
    cp "$2" "$1" 2>/dev/null || die 1 "$1 cannot be written, so its frames would have no names: start the process anew"
    placed=$1
}

# Ends the script where a file that recording $1 needs is another one now: its frames would have wrong names.
check_objects() { # check_objects DATA
    local id path now
    while read -r id path; do
        [[ $path == /* ]] || continue
        if [[ $path == *' (deleted)' && -f ${1%.data}.exe ]]; then
            place_executable "$path" "${1%.data}.exe"
        fi
        now=$(readelf -n "$path" 2>/dev/null | sed -nE 's/^ *Build ID: ([0-9a-f]+)$/\1/p' | head -n 1)
        [[ -z $now || $now == "$id" ]] ||
            die 1 "$path is another build than the one that was recorded: record again, or put the old one back"
    done < <("$perf" buildid-list -i "$1" 2>/dev/null)
}

# The text of recording $1 that the tool `flamegraph` reads, on standard output.
script_of() {
    # -f: also a recording that another user made. perf's own way to put inlined functions back asks addr2line for each
    # frame; ours asks once.
    "$perf" script -f -i "$1" --no-inline -F comm,tid,time,event,trace,ip,sym,symoff,dso 2>"$work/script.log" ||
        "$perf" script -f -i "$1" --no-inline -F comm,tid,time,event,ip,sym,symoff,dso 2>"$work/script.log" ||
        die 1 "perf script: $(head -n 3 "$work/script.log")"
}

cargo_build() { # cargo_build ARGUMENT…
    command -v cargo >/dev/null || die 1 'cargo is not there to build it: set BINARIES to where it is built already'
    (cd "$root" && cargo build --quiet --locked "$@")
}

# Sets `tools`: where load_test and flamegraph are.
build_tools() {
    tools=${BINARIES:-$target_dir/release}
    if [[ -z ${BINARIES:-} ]]; then
        say 'building load_test and flamegraph, for release (a few minutes the first time)'
        cargo_build --release --workspace --bin load_test --bin flamegraph
    fi
}

# Starts a server with symbols and frame pointers on a free port, and a load that outlasts the look at it. Its own
# target directory keeps the flags from rebuilding everything in the ordinary one. Sets server_pid, server_port,
# load_log.
start_server_and_load() {
    local binary=${BINARIES:-}/metricstream rest=3
    if [[ -z ${BINARIES:-} ]]; then
        say 'building the server: profile profiling, frame pointers (a few minutes the first time)'
        RUSTFLAGS="${RUSTFLAGS:-} -C force-frame-pointers=yes" CARGO_TARGET_DIR=$target_dir/profiling \
            cargo_build --profile profiling -p metricstream --bin metricstream
        binary=$target_dir/profiling/profiling/metricstream
    fi
    build_tools
    start_server "$binary" "$work/server.log" --data-dir "$work/data" --rate-limit 0 "${server_flags[@]}"
    if ((${#load_flags[@]} == 0)); then
        load_flags=(-c 64)
        ((!smoke)) || load_flags=(-c 16)
    fi
    load_log=$work/load.txt
    # The recording starts later than the load and takes a moment to end: hence the rest.
    "$tools/load_test" "$server_port" -d "$((seconds + rest))s" "${load_flags[@]}" >"$load_log" 2>&1 &
    load_pid=$!
    sleep 0.5
    if ! kill -0 "$load_pid" 2>/dev/null; then
        cat "$load_log" >&2
        die 1 'the load has ended before it began'
    fi
}

# Ends load and server; keeps what the load reports beside the other outputs.
stop_server_and_load() {
    if [[ -n $load_pid ]]; then
        kill -0 "$load_pid" 2>/dev/null || say 'the load ended before the recording did'
        # It reports what there is so far.
        kill -INT "$load_pid" 2>/dev/null || true
        wait "$load_pid" 2>/dev/null || true
        load_pid=
        cp "$load_log" "$out.load.txt"
        grep -E '^(throughput|own CPU)' "$load_log" >&2 || true
    fi
    stop_server
}

# Sets `out`: where the outputs of this run go, by time and commit, without an ending; and `commit`.
name_output() { # name_output KIND
    local directory=${PERF_OUT:-$perf_dir/out}
    mkdir -p "$directory"
    [[ -w $directory ]] || die 1 "$directory cannot be written: set PERF_OUT"
    if commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null); then
        # Built from what is not committed: a plus.
        [[ -z $(git -C "$root" status --porcelain) ]] || commit+=+
    else
        commit=nogit
    fi
    out=$directory/$(date -u +%Y%m%dT%H%M%SZ)-$commit-$1
}

is_running() { # is_running PID
    [[ $1 =~ ^[1-9][0-9]*$ ]] || die "$wrong_use" "'$1' is not a process id"
    [[ -d /proc/$1 ]] || die "$wrong_use" "there is no process $1"
}
