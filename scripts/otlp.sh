#!/usr/bin/env bash
# A real OTLP receiver takes the server's traces and figures, over gRPC and over HTTP, and checks what came.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: otlp.sh

Makes a Python environment of its own with OpenTelemetry's messages (opentelemetry-proto) and gRPC (grpcio) from PyPI,
starts a receiver with them and a server that sends to it, and checks for each protocol, with and without TLS: whose
trace a batch belongs to, how its parts nest, what it says; that the caller's sampled flag is followed; that slow and
failed batches come all the same; the server's own figures; a receiver that goes away and comes back; one that hangs,
so that the queue overflows, and that a stop does not wait for it. Where the packages cannot be had it says so and
exits 0. TLS is left out where there is no openssl. Exit code: 0 passed or skipped, 1 failed. Everything started is
ended by its pid.

environment: BINARIES   a directory with metricstream, built already
             OTLP_VENV  where the Python environment is kept for the next time [default: a temporary directory]
HELP
}

no_arguments "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need_tools 'Debian: apt-get install python3 python3-venv' python3
venv=${OTLP_VENV:-$work/venv}
if [[ ! -x $venv/bin/python ]]; then
    python3 -m venv "$venv" >"$work/venv.log" 2>&1 || skip "no Python environment can be made: $(tail -n 1 "$work/venv.log")"
fi
needs='import grpc, opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc'
if ! "$venv/bin/python" -c "$needs" 2>/dev/null; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check opentelemetry-proto grpcio >"$work/pip.log" 2>&1 ||
        skip "opentelemetry-proto and grpcio cannot be installed: $(tail -n 1 "$work/pip.log")"
fi

need_binaries metricstream
"$venv/bin/python" "$scripts/otlp.py" "$BINARIES/metricstream" "$work"
