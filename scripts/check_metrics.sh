#!/usr/bin/env bash
# What GET /metrics says after every kind of refusal, checked by Prometheus' own tool.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: check_metrics.sh

For each driver: starts a server with narrow bounds, puts good batches on it and one of every refusal that a client
can cause, runs `promtool check metrics` on what it then exposes, and checks that the sums hold and that OpenMetrics
ends as it must. Needs promtool (Debian: apt-get install prometheus); where it is missing, says so and exits 0.
promtool must not say a word. Exit code: 0 passed or skipped, 1 failed.

environment: BINARIES  a directory with metricstream, built already
HELP
}

no_arguments "$@"
need_tools 'Debian: apt-get install prometheus curl python3' promtool curl python3

# shellcheck source=server.bash
source "$scripts/server.bash"
need_binaries metricstream

work=$(mktemp -d)
trap 'stop_server || true; rm -rf "$work"' EXIT
(umask 077 && printf 'key\nhot\n' >"$work/keys")
failed=0

for driver in io_uring epoll; do
    start_server "$BINARIES/metricstream" "$work/$driver.log" --driver "$driver" --data-dir "$work/$driver" --reactors 2 --rate-limit 50 \
        --api-keys "$work/keys" --max-body 64KiB --query-max-points 3 --body-timeout 300ms --head-timeout 300ms --stats-interval 500ms
    python3 - "$server_port" <<'PY'
import socket, sys

port = int(sys.argv[1])
good = b'{"metrics":[{"name":"a","value":1},{"name":"b","value":2}]}'

def request(line=b"POST /metrics HTTP/1.1", fields=(), body=good, key=b"key"):
    head = [line, b"Host: h", b"Authorization: " + key, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body

def ask(raw, status):
    with socket.create_connection(("127.0.0.1", port), 30) as peer:
        peer.sendall(raw)
        response = peer.recv(65536)
        assert response.startswith(b"HTTP/1.1 %d" % status), (raw[:80], response)

for ack in (b"memory", b"write", b"fsync") * 4:
    ask(request(b"POST /metrics?ack=" + ack + b" HTTP/1.1"), 200)
ask(request(body=b"{"), 400)
ask(request(body=good[:-2] + b',{"name":"c"}]}'), 400)
ask(request(b"POST /metrics?ack=never HTTP/1.1"), 400)
ask(request(key=b"nobody"), 401)
ask(request(b"GET /nowhere HTTP/1.1"), 404)
ask(request(b"PUT /metrics HTTP/1.1"), 405)
for target in (b"/query?name=a", b"/series", b"/names", b"/tags/host"):
    ask(request(b"GET " + target + b" HTTP/1.1", body=b""), 200)
ask(request(b"GET /query HTTP/1.1", body=b""), 400)
ask(request(b"GET /query?name=~.*&agg=raw HTTP/1.1", body=b""), 422)
ask(request(b"GET /query?name=a HTTP/1.1", body=b"", key=b"nobody"), 401)
ask(request(b"POST /query HTTP/1.1"), 415)
ask(request(b"PUT /query HTTP/1.1"), 405)
ask(request(b"POST /metrics HTTP/2.0"), 505)
ask(request(fields=[b"Content-Encoding: br"]), 415)
ask(request(fields=[b"Content-Encoding: gzip"]), 400)
ask(request(fields=[b"Transfer-Encoding: chunked"]), 400)
ask(b"POST /metrics HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: br\r\n\r\n", 501)
ask(request(body=b" " * 70_000), 413)
ask(request(fields=[b"X: " + b"y" * 20_000]), 431)
ask(request()[:-1], 408)
ask(request()[:40], 408)
ask(b"no http\r\n\r\n", 400)
with socket.create_connection(("127.0.0.1", port), 30) as peer:
    peer.sendall(request(key=b"hot") * 200)
    responses = b""
    while responses.count(b"HTTP/1.1 ") < 200:
        responses += peer.recv(65536)
    assert b"HTTP/1.1 429" in responses
with socket.create_connection(("127.0.0.1", port), 30) as peer:
    peer.sendall(request()[:-5])
PY
    url=http://127.0.0.1:$server_port
    # The body that was cut off in the middle is counted once the end of its connection was seen.
    for _ in $(seq 100); do
        curl --silent --fail "$url/metrics" >"$work/metrics.txt"
        ! grep -q '^metricstream_batches_pending 0$' "$work/metrics.txt" || break
        sleep 0.1
    done
    if said=$(promtool check metrics <"$work/metrics.txt" 2>&1) && [[ -z $said ]]; then
        verdict='promtool has nothing to say'
    else
        verdict="promtool: $said"
        failed=1
    fi
    printf '%s: %s families, %s samples; %s\n' "$driver" "$(grep -c '^# TYPE' "$work/metrics.txt")" \
        "$(grep -vc '^#' "$work/metrics.txt")" "$verdict"
    curl --silent --fail --header 'Accept: application/openmetrics-text' "$url/metrics" >"$work/open.txt"
    [[ $(tail -n 1 "$work/open.txt") == '# EOF' ]] || { printf '%s: OpenMetrics does not end with # EOF\n' "$driver"; failed=1; }
    python3 - "$work/metrics.txt" <<'PY' || failed=1
import re, sys

samples = dict(line.rsplit(" ", 1) for line in open(sys.argv[1]) if not line.startswith("#"))
total = lambda name: sum(int(value) for sample, value in samples.items() if re.fullmatch(name + r"(\{.*\})?", sample))
sums = {
    "batches": [total(f"metricstream_batches_{fate}_total") for fate in ("received", "stored", "rejected", "shed")],
    "body bytes": [total(f"metricstream_body_{fate}_bytes_total") for fate in ("received", "stored", "rejected", "shed")],
}
for name, (received, *parts) in sums.items():
    print(f"   {name}: {received} received = {' + '.join(map(str, parts))} stored, rejected, shed")
    assert received == sum(parts) and received > 0
refused = {reason for sample, value in samples.items() if int(float(value)) > 0
           for reason in re.findall(r'http_requests_total\{.*reason="(\w+)"', sample)}
print(f"   refused for {len(refused) - 1} reasons: {' '.join(sorted(refused - {'ok'}))}")
PY
    stop_server || { cat "$work/$driver.log" >&2; failed=1; }
done
exit "$failed"
