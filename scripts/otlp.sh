#!/usr/bin/env bash
# A real OTLP receiver takes the server's traces and figures, over gRPC and over HTTP, and checks what came.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: otlp.sh

Makes a Python environment of its own with OpenTelemetry's messages (opentelemetry-proto) and gRPC (grpcio) from PyPI, starts a receiver with them
and a server that sends to it, and checks for each protocol, with and without TLS: whose trace a batch belongs to, how its parts nest, what it says;
that the caller's sampled flag is followed; that slow and failed batches come all the same; the server's own figures; a receiver that goes away
and comes back; one that hangs, so that the queue overflows, and that a stop does not wait for it.
Where the packages cannot be had it says so and exits 0. TLS is left out where there is no openssl.
Exit code: 0 passed or skipped, 1 failed. Everything started is ended by its pid.

environment: BINARIES   a directory with metricstream, built already
             OTLP_VENV  where the Python environment is kept for the next time [default: a temporary directory]
HELP
}

case ${1:-} in
    --help | -h) usage && exit 0 ;;
    ?*) usage >&2 && exit 2 ;;
esac

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$scripts")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip() {
    printf 'otlp.sh: SKIPPED, nothing was checked: %s\n' "$1"
    exit 0
}
command -v python3 >/dev/null || skip "there is no python3 here"
venv=${OTLP_VENV:-$work/venv}
if [[ ! -x $venv/bin/python ]]; then
    python3 -m venv "$venv" >"$work/venv.log" 2>&1 || skip "no Python environment can be made: $(tail -n 1 "$work/venv.log")"
fi
needs='import grpc, opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc'
if ! "$venv/bin/python" -c "$needs" 2>/dev/null; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check opentelemetry-proto grpcio >"$work/pip.log" 2>&1 ||
        skip "opentelemetry-proto and grpcio cannot be installed: $(tail -n 1 "$work/pip.log")"
fi

if [[ -z ${BINARIES:-} ]]; then
    (cd "$root" && cargo build --release --quiet --workspace --bin metricstream)
    BINARIES=${CARGO_TARGET_DIR:-$root/target}/release
fi
"$venv/bin/python" "$scripts/otlp.py" "$BINARIES/metricstream" "$work"
