#!/usr/bin/env bash
# The systemd unit: checked by systemd's own tools, and run by a real systemd.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: systemd.sh

Checks contrib/systemd/metricstream.service with `systemd-analyze verify` and `systemd-analyze security`, whose
exposure must stay at 2.0 or below. Then runs it, hardened as it is, under a systemd of its own in new name spaces
(processes, mounts, network, control groups), on both drivers: it must become active by its own word, be watched,
serve, rotate on reload, be killed and started again when one of its reactors is held, stay stopped after exit code 2,
and stop in order. Needs systemd (Debian: apt-get install systemd), for the run also root, python3 and curl. What is
missing or not allowed is skipped, and it is said so. Nothing outside the name spaces is changed; everything started
is ended. Exit code: 0 passed or skipped, 1 failed.

environment: BINARIES  a directory with metricstream, built already
HELP
}

no_arguments "$@"

unit=$root/contrib/systemd/metricstream.service
need_tools 'Debian: apt-get install systemd' systemd-analyze
need_binaries metricstream

work=$(mktemp -d)
chmod 755 "$work"
outer=
group=
clean_up() {
    if [[ -n $outer ]]; then
        kill -KILL "$outer" 2>/dev/null || true
        wait "$outer" 2>/dev/null || true
    fi
    if [[ -n $group ]]; then
        # The last processes of a name space may take a moment to go.
        for _ in $(seq 50); do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [[ -d $group ]] || break
            sleep 0.1
        done
    fi
    rm -rf "$work"
}
trap clean_up EXIT

# ---- what its own tools say --------------------------------------------------------------------------------------------

install -m 755 "$BINARIES/metricstream" "$work/metricstream"
sed "s|/usr/local/bin/metricstream|$work/metricstream|" "$unit" >"$work/metricstream.service"
said=$(systemd-analyze verify --man=no "$work/metricstream.service" 2>&1 | grep -F metricstream || true)
if [[ -n $said ]]; then
    printf 'systemd-analyze verify: %s\n' "$said" >&2
    exit 1
fi
echo 'systemd-analyze verify has nothing to say'
systemd-analyze security --offline=true --threshold=20 "$work/metricstream.service" >"$work/security.txt" 2>&1 || {
    cat "$work/security.txt" >&2
    exit 1
}
tail -n 1 "$work/security.txt" | sed -E 's/^[^A-Za-z]*//'

# ---- a real one --------------------------------------------------------------------------------------------------------

skip() {
    printf 'systemd.sh: SKIPPED, the unit was not run: %s\n' "$1"
    exit 0
}
[[ $(id -u) == 0 ]] || skip 'it takes root'
for tool in unshare nsenter python3 curl systemctl; do
    command -v "$tool" >/dev/null || skip "there is no $tool here"
done
manager=/lib/systemd/systemd
[[ -x $manager ]] || skip "there is no $manager here"
unshare --pid --fork --mount --uts --ipc --net --cgroup true 2>/dev/null || skip 'no name spaces can be made here'
# A control group of its own, which is the root of what is inside.
mounted=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
[[ -n $mounted ]] || skip 'there is no cgroup2 here'
group=$mounted/metricstream-check-$$
mkdir "$group" 2>/dev/null || { group= && skip "no control group can be made in $mounted"; }

# Inside: everything that systemd and the unit write to is ours.
cat >"$work/begin.sh" <<'BEGIN'
set -eu
work=$1
mount --make-rprivate /
mount -t proc proc /proc
umount -l -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system/metricstream.service.d "$work/lib" "$work/bin" "$work/etc"
systemd-sysusers --root="$work" "$work/metricstream.conf"
cat /etc/passwd >>"$work/etc/passwd"
cat /etc/group >>"$work/etc/group"
mount --bind "$work/etc/passwd" /etc/passwd
mount --bind "$work/etc/group" /etc/group
mount --bind "$work/lib" /var/lib
cp "$work/metricstream" "$work/bin"
mount --bind "$work/bin" /usr/local/bin
cp "$work/unit" /run/systemd/system/metricstream.service
# No journal, no network to wait for; the watchdog is as in the unit, but for its timeout.
cat >/run/systemd/system/metricstream.service.d/check.conf <<CONF
[Unit]
DefaultDependencies=no
Wants=
After=
[Service]
StandardOutput=append:$work/said.log
StandardError=append:$work/said.log
EnvironmentFile=-$work/environment
WatchdogSec=4
CONF
printf '[Unit]\nDefaultDependencies=no\n' >/run/systemd/system/check.target
exec env -i PATH="$PATH" container=check "$2" --system --unit=check.target --show-status=no --log-target=null
BEGIN
cp "$unit" "$work/unit"
cp "$root/contrib/systemd/metricstream.sysusers" "$work/metricstream.conf"

# Holds a thread by ptrace(2) until it is killed: from outside, a deadlock or an endless loop looks like that.
cat >"$work/hold.py" <<'PYTHON'
import ctypes, os, sys

pid, name = sys.argv[1:]
SEIZE, INTERRUPT = 0x4206, 0x4207
thread = next(t for t in os.listdir(f"/proc/{pid}/task") if open(f"/proc/{pid}/task/{t}/comm").read().strip() == name)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in SEIZE, INTERRUPT:
    if libc.ptrace(request, int(thread), None, None) != 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
# Who traces a thread has to reap it, or its process stays.
while True:
    _, status = os.waitpid(int(thread), 0x40000000)
    if os.WIFEXITED(status) or os.WIFSIGNALED(status):
        break
PYTHON

(
    echo "$BASHPID" >"$group/cgroup.procs"
    exec unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup bash "$work/begin.sh" "$work" "$manager"
) >"$work/manager.log" 2>&1 &
outer=$!

fail() {
    printf 'FAILED   %s\n' "$1" >&2
    inside systemctl status --no-pager metricstream >&2 || true
    cat "$work/manager.log" "$work/said.log" >&2 2>/dev/null || true
    exit 1
}
passed() { printf 'passed   %s\n' "$1"; }
# A command inside the name spaces.
inside() { nsenter --all --target "$init" "$@"; }
# usage: show PROPERTY
show() { inside systemctl show --value --property "$1" metricstream; }
# usage: until_true WHAT COMMAND…
until_true() {
    local what=$1
    shift
    for _ in $(seq 300); do
        if "$@" 2>/dev/null; then
            passed "$what"
            return
        fi
        sleep 0.1
    done
    fail "$what"
}
is() { [[ $(show "$1") == "$2" ]]; }
has() { [[ $(show "$1") == *"$2"* ]]; }
ask() { inside curl --silent --fail --max-time 10 "$@"; }

init=
find_init() { init=$(<"/proc/$outer/task/$outer/children") && init=${init// /} && [[ -n $init ]] && inside systemctl is-system-running | grep -qE 'running|degraded|starting'; }
until_true 'a systemd of its own runs' find_init
inside ip link set lo up

for driver in io_uring epoll; do
    printf -- '-- %s\n' "$driver"
    printf 'METRICSTREAM_DRIVER=%s\nMETRICSTREAM_STATS_INTERVAL=500ms\n' "$driver" >"$work/environment"
    # It returns when the server has said that it listens.
    inside systemctl start metricstream || fail 'systemctl start'
    passed 'active, by its own word'
    ask http://127.0.0.1:8080/metrics --data '{"metrics":[{"name":"a","value":1}]}' >"$work/reply" || fail 'a batch right after the start'
    [[ $(<"$work/reply") == '{"success":true,"metrics_processed":1}' ]] || fail "the response is: $(<"$work/reply")"
    ask http://127.0.0.1:8080/stats >"$work/stats.json"
    grep -q "\"driver\": \"$driver\"" "$work/stats.json" || fail "the driver is not $driver"
    passed "a batch right after the start is stored, on $driver"
    until_true 'its figures are the status of the unit' has StatusText 'batches/s'
    printf '         %s\n' "$(show StatusText)"
    [[ $(stat -c %a "$work/lib/metricstream") == 750 ]] || fail 'mode of the data directory'
    main=$(show MainPID)
    for line in 'NoNewPrivs:.*1' 'Seccomp:.*2' 'CapEff:.*0000000000000000' 'CapBnd:.*0000000000000000'; do
        inside grep -qE "^$line$" "/proc/$main/status" || fail "/proc/$main/status has no $line"
    done
    passed 'it has no capability, and a filter of system calls'

    inside systemctl reload metricstream || fail 'systemctl reload'
    until_true 'a reload rotates the log' bash -c "compgen -G '$work/lib/metricstream/metrics-*.jsonl' >/dev/null"

    restarts=$(show NRestarts)
    inside timeout 120 python3 "$work/hold.py" "$(show MainPID)" reactor-0 &
    holder=$!
    until_true 'a reactor that is held stops the pings, and it is started again' is NRestarts $((restarts + 1))
    wait "$holder" || fail 'hold.py'
    until_true 'it is active again' is ActiveState active
    ask http://127.0.0.1:8080/stats | grep -qE '"unclean_shutdowns": [1-9]' || fail 'the restart was not counted as unclean'
    passed 'the restart is counted as unclean'

    inside systemctl stop metricstream || fail 'systemctl stop'
    is Result success || fail "Result=$(show Result)"
    grep -q 'stopped: everything accepted is in the log and synced' "$work/said.log" || fail 'it did not stop in order'
    passed 'a stop is a stop in order'
    find "$work/lib/metricstream" -mindepth 1 -delete
    : >"$work/said.log"
done

echo '-- what cannot start'
printf 'METRICSTREAM_REACTORS=0\n' >"$work/environment"
! inside systemctl start metricstream 2>/dev/null || fail 'it started without a reactor'
is ActiveState failed || fail "ActiveState=$(show ActiveState)"
[[ $(show ExecMainStatus) == 2 && $(show NRestarts) == 0 ]] || fail "ExecMainStatus=$(show ExecMainStatus), NRestarts=$(show NRestarts)"
passed 'exit code 2 is not tried again'
