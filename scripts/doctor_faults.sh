#!/usr/bin/env bash
# Makes faults on this host, one at a time, and checks that doctor names each.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: doctor_faults.sh [--host-wide]

Makes each fault for one run of doctor, and checks that doctor names it: few descriptors, small files, io_uring
refused by seccomp, a quota of CPU time, withheld cores, locked memory, a data directory in memory, without barriers,
read-only, with files of the future, a running server, a killed one, a taken port, a short accept queue. What this
host does not allow is skipped, and it is said why.

--host-wide also sets kernel.io_uring_disabled to 2 for the second that doctor runs, and back: no process of the host
gets a
             new io_uring meanwhile.

Exit code: 0 every fault that could be made was named, 1 one was not, 2 wrong usage.

environment: BINARIES  a directory with metricstream, built already
HELP
}

host_wide=
for argument in "$@"; do
    case $argument in
    --help | -h) help_option "$argument" ;;
    --host-wide) host_wide=yes ;;
    *) wrong_use ;;
    esac
done

# shellcheck source=server.bash
source "$scripts/server.bash"

work=$(mktemp -d)
# Somebody without rights must be able to reach it.
chmod 755 "$work"
group=
image=
sysctl_before=
switch=/proc/sys/kernel/io_uring_disabled

clean_up() {
    stop_server || true
    [[ -z $sysctl_before ]] || printf '%s\n' "$sysctl_before" >"$switch"
    [[ -z $group ]] || rmdir "$group" 2>/dev/null || true
    [[ -z $image ]] || umount "$image" 2>/dev/null || true
    rm -rf "$work" "${memory:-$work}"
}
trap clean_up EXIT

need_binaries metricstream
cp "$BINARIES/metricstream" "$work/metricstream"
BINARIES=$work
data=$work/data
mkdir "$data"

named=0
missed=0
skipped=0

skip() {
    skipped=$((skipped + 1))
    printf 'skipped  %-34s %s\n' "$1" "$2"
}

# Looks for a check in the report in $work/report.json. usage: expect NAME ID SEVERITY PART
expect() {
    if python3 - "$work/report.json" "${@:2}" <<'PYTHON'; then
import json, sys

path, name, severity, part = sys.argv[1:]
try:
    checks = json.load(open(path))["checks"]
except ValueError as error:
    sys.exit(f"         doctor printed no document: {error}")
check = next(check for check in checks if check["id"] == name)
if check["severity"] != severity or part not in check["finding"]:
    sys.exit(f"         expected {severity} and {part!r}, found {check['severity']}: {check['finding']}")
print(f"         {check['severity']} {name}: {check['finding']}")
print(f"         fix: {check['fix']}")
PYTHON
        named=$((named + 1))
        printf 'named    %s\n' "$1"
    else
        missed=$((missed + 1))
        printf 'MISSED   %s\n' "$1"
    fi
}

# Runs what stands before `--`, with doctor's command line behind it; its report goes to $work/report.json.
# usage: doctor PREFIX… -- FLAG…
doctor() {
    local prefix=()
    while [[ $1 != -- ]]; do
        prefix+=("$1")
        shift
    done
    shift
    # The exit code is the worst finding's; what is expected is looked for in the report.
    METRICSTREAM_DATA_DIR=$data METRICSTREAM_LISTEN=127.0.0.1:0 \
        "${prefix[@]}" "$BINARIES/metricstream" doctor --json "$@" >"$work/report.json" || true
}

# A command as somebody without rights. usage: unprivileged COMMAND…
unprivileged() {
    setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

# ---- what a process may have -------------------------------------------------------------------------------------------

doctor bash -c 'ulimit -n 256 && exec "$@"' - -- --max-connections 1000
expect 'ulimit -n 256' nofile critical 'is 256'

doctor bash -c 'ulimit -f 4096 && exec "$@"' - --
expect 'ulimit -f 4096' fsize critical 'a file may grow to 4194304 bytes'

if ((EUID == 0)) && command -v setpriv >/dev/null; then
    # Of everybody's processes together: this user has none.
    doctor bash -c 'ulimit -l 64 && exec setpriv --reuid 64999 --regid 64999 --clear-groups "$@"' - --
    if grep -q 'rings are granted' "$work/report.json"; then
        skip 'ulimit -l 64' 'this kernel does not count rings as locked memory'
    elif grep -q 'io_uring is unavailable here' "$work/report.json"; then
        skip 'ulimit -l 64' 'there is no io_uring here'
    else
        expect 'ulimit -l 64' memlock warning 'falls back to epoll'
        doctor bash -c 'ulimit -l 64 && exec setpriv --reuid 64999 --regid 64999 --clear-groups "$@"' - -- --driver io_uring
        expect 'the same, and no other driver wanted' memlock critical 'will not start with --driver io_uring'
    fi
else
    skip 'ulimit -l 64' 'takes root, to run as somebody who lacks CAP_IPC_LOCK'
fi

# ---- io_uring ----------------------------------------------------------------------------------------------------------

cat >"$work/without_io_uring.py" <<'PYTHON'
"""Runs a command under seccomp(2) that returns EPERM for io_uring_setup, whose number is 425 everywhere."""
import ctypes, os, struct, sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EPERM = 0x7FFF0000, 0x00050000 | 1
program = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in [(LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, 425), (RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]
)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


libc = ctypes.CDLL(None, use_errno=True)
for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(4, program)))]:
    if libc.prctl(*arguments) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
PYTHON
if python3 "$work/without_io_uring.py" true 2>"$work/seccomp.log"; then
    doctor python3 "$work/without_io_uring.py" --
    expect 'io_uring refused by seccomp' io_uring warning 'a seccomp filter forbids io_uring'
    doctor python3 "$work/without_io_uring.py" -- --driver io_uring
    expect 'the same, and no other driver wanted' io_uring critical 'will not start with --driver io_uring'
else
    skip 'io_uring refused by seccomp' "$(head -n 1 "$work/seccomp.log")"
fi

if [[ ! -e $switch ]]; then
    skip 'kernel.io_uring_disabled = 2' 'this kernel is older than 6.6 and has no such switch'
elif [[ -z $host_wide ]]; then
    skip 'kernel.io_uring_disabled = 2' 'touches every process of the host: --host-wide makes it'
elif [[ ! -w $switch ]]; then
    skip 'kernel.io_uring_disabled = 2' "$switch cannot be written"
else
    sysctl_before=$(<"$switch")
    printf '2\n' >"$switch"
    doctor --
    printf '%s\n' "$sysctl_before" >"$switch"
    [[ $(<"$switch") == "$sysctl_before" ]] && sysctl_before=
    expect 'kernel.io_uring_disabled = 2' io_uring warning 'kernel.io_uring_disabled = 2'
fi

# ---- cores -------------------------------------------------------------------------------------------------------------

# A child of our own group, in the hierarchy that has the controller of CPU time.
quota_group() {
    local line mount
    if line=$(grep -E '^[0-9]+:([^:]*,)?cpu(,[^:]*)?:' /proc/self/cgroup); then
        mount=$(awk '$0 ~ / - cgroup / && $NF ~ /(^|,)cpu(,|$)/ { print $5; exit }' /proc/self/mountinfo)
    else
        line=$(grep '^0::' /proc/self/cgroup)
        mount=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
    fi
    [[ -n $mount ]] || return 1
    local path=$mount${line#*:*:}
    group=${path%/}/metricstream-doctor-$$
    mkdir "$group" 2>/dev/null || {
        group=
        return 1
    }
    if [[ -e $group/cpu.cfs_quota_us ]]; then
        printf '50000\n' >"$group/cpu.cfs_quota_us"
    elif [[ -e $group/cpu.max ]]; then
        printf '50000 100000\n' >"$group/cpu.max"
    else
        return 1
    fi
}

if quota_group 2>/dev/null; then
    # shellcheck disable=SC2016
    doctor bash -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' - "$group" --
    expect 'a quota of half a CPU' cpu_quota warning 'grants 0.50 CPUs'
    rmdir "$group" && group=
else
    skip 'a quota of half a CPU' 'no control group with a quota can be made here (made trees: cargo test doctor)'
fi

if (($(nproc) > 1)); then
    first=$(taskset -cp $$ | sed -E 's/.*: *([0-9]+).*/\1/')
    other=$(taskset -cp $$ | sed -E 's/.*[-,]([0-9]+)$/\1/')
    doctor taskset -c "$first" -- --cores "$first,$other"
    expect "taskset -c $first, --cores $first,$other" cpuset critical "may not use core $other, only $first"
else
    skip 'a core withheld by taskset' 'there is only one'
fi

# ---- network -----------------------------------------------------------------------------------------------------------

if unshare --net true 2>/dev/null; then
    # The network name space is its own, and so is the value.
    doctor unshare --net bash -c 'echo 128 >/proc/sys/net/core/somaxconn && exec "$@"' - --
    expect 'net.core.somaxconn = 128' somaxconn warning 'gets 128'
else
    skip 'net.core.somaxconn = 128' 'no network name space can be made here'
fi

# ---- disk --------------------------------------------------------------------------------------------------------------

memory=$(mktemp -d -p /dev/shm 2>/dev/null) || memory=
if [[ -n $memory && $(stat -f -c %T "$memory") == tmpfs ]]; then
    doctor -- --data-dir "$memory"
    expect 'a data directory in memory' filesystem critical 'in memory'
else
    skip 'a data directory in memory' '/dev/shm is no tmpfs'
fi

mkdir "$work/mount"
truncate -s 16M "$work/image"
if mkfs.ext4 -q -F "$work/image" 2>"$work/mount.log" && mount -o loop,barrier=0 "$work/image" "$work/mount" 2>"$work/mount.log"; then
    image=$work/mount
    doctor -- --data-dir "$image"
    expect 'mounted without barriers' mount_options critical 'syncs do not reach the disk'
    expect 'a disk of 16 MiB' free_space critical 'every batch gets a 503'
    mount -o remount,ro "$image"
    doctor -- --data-dir "$image"
    expect 'mounted read-only' data_dir critical 'Read-only file system'
    umount "$image" && image=
else
    skip 'mounted without barriers, read-only' "$(head -n 1 "$work/mount.log")"
fi

if ((EUID == 0)) && command -v setpriv >/dev/null; then
    doctor unprivileged --
    expect 'a data directory of somebody else' data_dir critical 'Permission denied'
else
    skip 'a data directory of somebody else' 'takes root, to run as somebody else'
fi

start_server "$BINARIES/metricstream" "$work/server.log" --data-dir "$data"
doctor -- --listen "127.0.0.1:$server_port"
expect 'a running server' data_dir note "process $server_pid"
expect 'its port' port note 'most likely by the server'
doctor -- --listen "127.0.0.1:$server_port" --data-dir "$work/other"
expect 'its port, for another directory' port critical 'in use by another program'
kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null || true
server_pid=
doctor --
expect 'a server that was killed' unclean_shutdowns note '1 unclean'

touch -d '+1 day' "$data/metrics.jsonl"
doctor --
expect 'a log written tomorrow' clock_plausible warning 'the clock was set back'

printf '\n%d named, %d missed, %d skipped\n' "$named" "$missed" "$skipped"
((missed == 0))
