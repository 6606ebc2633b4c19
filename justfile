# Every command of this tree: `just` lists them. Each recipe is one line, so the line can be run without just as well.

# List the recipes.
[private]
default:
    @"{{just_executable()}}" --list --unsorted

# ---- build, run, test ------------------------------------------------------

# Run the server with the given flags: just run --rate-limit 0
[group('develop')]
run *FLAGS:
    cargo run --release -- {{FLAGS}}

# Run the tests whose names contain FILTER, or all: just test rotation
[group('develop')]
test *FILTER:
    cargo test --workspace {{FILTER}}

# Check the rules of the tree: sizes, words, links, limits, scripts
[group('develop')]
tidy:
    cargo test --test tidy

# Format, and report what clippy has to say
[group('develop')]
lint:
    cargo fmt --all && cargo clippy --workspace --all-targets --locked -- -D warnings

# Build the documentation of all crates; a warning is an error
[group('develop')]
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Check the licences, sources and known vulnerabilities of the dependencies
[group('develop')]
deny *OPTIONS:
    scripts/deny.sh {{OPTIONS}}

# Run the whole gate, as the build machine does
[group('develop')]
gate:
    bash .ci/run

# ---- correctness ------------------------------------------------------

# Put the release server under load and compare its log with what was acknowledged
[group('correctness')]
smoke *OPTIONS:
    scripts/smoke.sh {{OPTIONS}}

# Post a real file at each driver and level and compare the log digit for digit
[group('correctness')]
acceptance *OPTIONS:
    scripts/acceptance.sh {{OPTIONS}}

# Run the server on a simulated machine, seed after seed; --mutants proves that it finds what is broken
[group('correctness')]
sim *OPTIONS:
    scripts/sim.sh {{OPTIONS}}

# Kill the server at random moments and compare its log with what was acknowledged
[group('correctness')]
crash-test *OPTIONS:
    scripts/crash_test.sh {{OPTIONS}}

# Run the server on a disk that fills up
[group('correctness')]
full-disk *OPTIONS:
    scripts/full_disk.sh {{OPTIONS}}

# Run the server on a disk that fails for good
[group('correctness')]
failing-disk *OPTIONS:
    scripts/failing_disk.sh {{OPTIONS}}

# Run the parser's tests on x86-64 without AVX and on aarch64, under qemu-user
[group('correctness')]
other-cpus *OPTIONS:
    scripts/other_cpus.sh {{OPTIONS}}

# Model-check the lock-free code; --mutants proves that the models find what is broken
[group('correctness')]
loom *OPTIONS:
    scripts/loom.sh {{OPTIONS}}

# Run the tests under ThreadSanitizer or AddressSanitizer
[group('correctness')]
sanitize *OPTIONS:
    scripts/sanitize.sh {{OPTIONS}}

# Run hostile clients beside an honest one
[group('correctness')]
attacks *OPTIONS:
    scripts/attacks.py {{OPTIONS}}

# Measure a good client beside each kind of attack
[group('correctness')]
hostile *OPTIONS:
    scripts/hostile.sh {{OPTIONS}}

# Fuzz everything that reads bytes of clients or of a disk
[group('correctness')]
fuzz *OPTIONS:
    scripts/fuzz.sh {{OPTIONS}}

# Make faults on this host and check that doctor reports each
[group('correctness')]
doctor-faults *OPTIONS:
    scripts/doctor_faults.sh {{OPTIONS}}

# Damage a log of gigabytes in each way, and verify and repair it
[group('correctness')]
verify-large *OPTIONS:
    scripts/verify_large.sh {{OPTIONS}}

# ---- against other programs ------------------------------------------------------

# Check GET /metrics after every kind of refusal with promtool
[group('interoperability')]
check-metrics *OPTIONS:
    scripts/check_metrics.sh {{OPTIONS}}

# Check the alerts and the dashboard with promtool and a live server
[group('interoperability')]
check-alerts *OPTIONS:
    scripts/check_alerts.sh {{OPTIONS}}

# Send by the real agents of every protocol, and hold their counters against the log
[group('interoperability')]
agents *OPTIONS:
    scripts/agents.sh {{OPTIONS}}

# Scrape the server with a real Prometheus
[group('interoperability')]
prometheus *OPTIONS:
    scripts/prometheus.sh {{OPTIONS}}

# Drive the live page in a headless Chromium, over a server under load
[group('interoperability')]
page *OPTIONS:
    scripts/page.sh {{OPTIONS}}

# Run the server behind HAProxy and nginx
[group('interoperability')]
proxies *OPTIONS:
    scripts/proxies.sh {{OPTIONS}}

# Run several nodes behind HAProxy, and kill some of them
[group('interoperability')]
cluster *OPTIONS:
    scripts/cluster.sh {{OPTIONS}}

# Kill a server that forwards to a Kafka broker at random moments and compare the topic with its log
[group('correctness')]
kafka *OPTIONS:
    scripts/kafka.sh {{OPTIONS}}

# Export traces and figures to a receiver built on OpenTelemetry's packages
[group('interoperability')]
otlp *OPTIONS:
    scripts/otlp.sh {{OPTIONS}}

# Check the systemd unit and run it under a real systemd
[group('interoperability')]
systemd *OPTIONS:
    scripts/systemd.sh {{OPTIONS}}

# Compare results and times of queries with DuckDB's
[group('interoperability')]
query-duckdb *OPTIONS:
    scripts/query_duckdb.sh {{OPTIONS}}

# Give the same lines to a real influxd and to the decoder of line protocol
[group('interoperability')]
influxd-differential *OPTIONS:
    scripts/influxd_differential.sh {{OPTIONS}}

# Give the same expositions to a push gateway, promtool and prometheus_client and to the decoder of text
[group('interoperability')]
text-differential *OPTIONS:
    scripts/text_differential.sh {{OPTIONS}}

# Post a file of batches, one a line, to a server
[group('interoperability')]
send-file *OPTIONS:
    scripts/send_file.sh {{OPTIONS}}

# ---- speed ------------------------------------------------------

# Measure this server, the floor, nginx and VictoriaMetrics in turns
[group('speed')]
compare *OPTIONS:
    scripts/compare.sh {{OPTIONS}}

# Run load_test with 10 to 500 clients and more
[group('speed')]
progressive-load *OPTIONS:
    scripts/progressive_load.sh {{OPTIONS}}

# Measure queries over ten million lines
[group('speed')]
benchmark-query *OPTIONS:
    scripts/benchmark_query.sh {{OPTIONS}}

# Measure what heavy queries cost those who post
[group('speed')]
query-isolation *OPTIONS:
    scripts/query_isolation.sh {{OPTIONS}}

# Count the instructions of a request, and compare them with those stored
[group('speed')]
instructions *OPTIONS:
    scripts/instructions.sh {{OPTIONS}}

# Count the instructions of each decoder for a metric
[group('speed')]
decoder-instructions *OPTIONS:
    scripts/decoder_instructions.sh {{OPTIONS}}

# Measure what a forwarded sample costs, beside vmagent
[group('speed')]
forward-cost *OPTIONS:
    scripts/forward_cost.sh {{OPTIONS}}

# Measure the goals of PERFORMANCE.md, and say which are met
[group('speed')]
goals *OPTIONS:
    scripts/goals.sh {{OPTIONS}}

# Build the C++ program that benchmark_json_parser --simdjson compares with
[group('speed')]
simdjson OUTPUT:
    scripts/simdjson.sh {{OUTPUT}}

# Measure what statistics, traces and exports cost
[group('speed')]
observe-cost *OPTIONS:
    scripts/observe_cost.sh {{OPTIONS}}

# Check that load_test's comparison claims no difference where there is none
[group('speed')]
check-baseline *OPTIONS:
    scripts/check_baseline.sh {{OPTIONS}}

# Measure load_test's CPU time for a request by that of wrk
[group('speed')]
wrk-ratio *OPTIONS:
    scripts/wrk_ratio.sh {{OPTIONS}}

# ---- profiles ------------------------------------------------------

# Record the stacks of a process, or of a server under load
[group('profiles')]
record *OPTIONS:
    perf/record.sh {{OPTIONS}}

# Draw a flamegraph of CPU time
[group('profiles')]
flamegraph *OPTIONS:
    perf/flamegraph.sh {{OPTIONS}}

# Draw a flamegraph of the time off CPU
[group('profiles')]
offcpu *OPTIONS:
    perf/offcpu.sh {{OPTIONS}}

# Count what a request costs: CPU time, switches, system calls
[group('profiles')]
stat *OPTIONS:
    perf/stat.sh {{OPTIONS}}

# Compare two recordings
[group('profiles')]
diff *OPTIONS:
    perf/diff.sh {{OPTIONS}}

# Check the scripts in perf/ on programs made for it
[group('profiles')]
check-perf *OPTIONS:
    scripts/check_perf.sh {{OPTIONS}}
