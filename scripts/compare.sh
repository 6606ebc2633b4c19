#!/usr/bin/env bash
# This server, the floor, nginx, VictoriaMetrics and InfluxDB under the same loads, in turns, on the same cores.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: compare.sh [--no-install] [OPTION…]

Installs the peers that are missing from Debian's packages (nginx-light,
victoria-metrics, influxdb, wrk), and runs `compare` with the options given; its help follows. A peer that cannot be
had is skipped, and the report says so.

  --no-install  take the peers that are there
  --smoke       implies --no-install: a few seconds, to see that all of it works

perf/runs/README.md says how to read what it stores.

environment: BINARIES  a directory with compare, metricstream, floor and load_test, built for release already (default:
             those of this tree, which it builds)

HELP
}

cd "$root"
install=1 options=() help=0
for option in "$@"; do
    case $option in
    --no-install) install=0 ;;
    --smoke) install=0 options+=("$option") ;;
    --help | -h) help=1 ;;
    *) options+=("$option") ;;
    esac
done

compare=${BINARIES:-$(release_directory)}/compare
if ((help)); then
    usage
    [[ ! -x $compare ]] || exec "$compare" --help
    printf 'The options of compare follow here once it is built.\n'
    exit 0
fi
need_binaries metricstream compare floor load_test
compare=$BINARIES/compare

as_root() {
    if (($(id -u) == 0)); then "$@"; else sudo -n "$@"; fi
}

active() {
    command -v systemctl >/dev/null && systemctl is-active --quiet "$1" 2>/dev/null
}

# need COMMAND PACKAGE [SERVICE]: installs PACKAGE when COMMAND is missing, and stops the SERVICE that Debian then
# starts: it would take CPU time during the run.
need() {
    local command=$1 package=$2 service=${3:-}
    if ! PATH=$PATH:/usr/sbin command -v "$command" >/dev/null; then
        printf 'compare.sh: installing %s\n' "$package" >&2
        local get=(env DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet=2)
        if ! as_root "${get[@]}" install --no-install-recommends "$package" >/dev/null 2>&1 &&
            ! { as_root "${get[@]}" update && as_root "${get[@]}" install --no-install-recommends "$package"; } >/dev/null; then
            printf 'compare.sh: %s cannot be installed: it is left out\n' "$package" >&2
        elif [[ -n $service ]] && active "$service"; then
            as_root systemctl disable --now --quiet "$service"
        fi
    elif [[ -n $service ]] && active "$service"; then
        printf 'compare.sh: the service %s is running and takes CPU time; to stop it: systemctl stop %s\n' "$service" "$service" >&2
    fi
}

if ((install)); then
    need nginx nginx-light nginx
    need victoria-metrics victoria-metrics victoria-metrics
    need influxd influxdb influxdb
    need wrk wrk
fi
exec "$compare" "${options[@]}"
