#!/usr/bin/env bash
# A push gateway, promtool and prometheus_client read the same expositions as the decoder of text.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: text_differential.sh [--install] [--cases N] [--seed N]

Makes N lines [default: 3000] of each format, half of them with a few bytes changed at random, and N paths of the push
gateway, and compares what the decoder makes of them with others: of the exposition format with a real push gateway on
the loopback (accepted or not, names, labels, values, types) and with the parser of prometheus_client; of OpenMetrics
with that of prometheus_client, and for a twentieth of the lines with promtool, which makes blocks of them; of paths
with the push gateway. The differences that the decoder's documentation names are counted by kind; any other fails.

--install gets prometheus and prometheus-pushgateway with apt-get. prometheus_client is installed from PyPI into
target/text_differential. Where one of them is missing, says so and exits 0. Exit code: 0 passed or skipped, 1 failed,
2 wrong arguments. The push gateway is ended by its pid.

environment: DECODE  the example `decode` of crates/metric, built already
HELP
}

help_option "$@"
install=0 arguments=()
while (($# > 0)); do
    case $1 in
        --install) install=1 && shift ;;
        --cases | --seed) arguments+=("$1" "${2:?}") && shift 2 ;;
        *) wrong_use ;;
    esac
done
if ((install)); then
    install_package promtool prometheus
    install_package prometheus-pushgateway prometheus-pushgateway
fi
need_tools '--install gets it' promtool prometheus-pushgateway python3

cd "$root"
venv=target/text_differential
if ! "$venv/bin/python" -c 'import prometheus_client' 2>/dev/null; then
    python3 -m venv "$venv" >/dev/null 2>&1 || skip 'python3 cannot make a venv here'
    "$venv/bin/pip" install --quiet --disable-pip-version-check prometheus-client >/dev/null 2>&1 \
        || skip 'prometheus-client cannot be installed from PyPI'
fi
if [[ -z ${DECODE:-} ]]; then
    cargo build --quiet --package metricstream-metric --example decode
    DECODE=${CARGO_TARGET_DIR:-$root/target}/debug/examples/decode
fi
"$venv/bin/python" scripts/text_differential.py "$DECODE" "${arguments[@]}"
