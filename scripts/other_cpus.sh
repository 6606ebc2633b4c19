#!/usr/bin/env bash
# The tests of the parser on processors that this machine is not: x86-64 without AVX, and aarch64.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: other_cpus.sh [x86-64] [aarch64]

Runs the tests of metricstream-metric (parser, encoder, lines, decoders of protocols; the differential tests with
fewer cases) under qemu-user, on both processors unless one is named:
  x86-64   a Nehalem, which has SSE4.2 and no AVX: what is dispatched at run time takes the other way there
  aarch64  built with Debian's cross compiler; metricstream-http1 and metricstream-query are checked for it as well
Installs qemu-user, g++-aarch64-linux-gnu and the target of rustup when they are missing. Builds into other_cpus/ of
the target directory. Some five minutes.

Exit code: 0 all passed, 1 a test or a build failed, 2 wrong use, 3 nothing was checked: a tool is unavailable.
HELP
}

processors=()
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        x86-64 | aarch64) processors+=("$1") && shift ;;
        *) wrong_use ;;
    esac
done
((${#processors[@]} > 0)) || processors=(x86-64 aarch64)
cd "$root"

# usage: unavailable WHAT: skips the script.
unavailable() {
    die 3 "SKIPPED, nothing was checked: $1"
}

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/other_cpus
# A translated instruction takes 10 to 50 times as long: fewer cases.
export SPECULATION_CASES=${SPECULATION_CASES:-40} METRIC_CASES=${METRIC_CASES:-5000} PROPTEST_CASES=${PROPTEST_CASES:-32}
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='qemu-x86_64 -cpu Nehalem'
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc

install_package qemu-aarch64 qemu-user || unavailable 'qemu-user cannot be installed'
for processor in "${processors[@]}"; do
    case $processor in
        x86-64) RUSTFLAGS='-C target-cpu=x86-64' \
            cargo test --locked --target x86_64-unknown-linux-gnu -p metricstream-metric ;;
        aarch64)
            # The compiler for C++ brings the headers that the one for C only recommends.
            install_package aarch64-linux-gnu-g++ g++-aarch64-linux-gnu ||
                unavailable 'g++-aarch64-linux-gnu cannot be installed'
            rustup target add aarch64-unknown-linux-gnu || unavailable 'rustup has no target for aarch64'
            cargo check --locked --target aarch64-unknown-linux-gnu -p metricstream-http1 -p metricstream-query
            cargo test --locked --target aarch64-unknown-linux-gnu -p metricstream-metric
            ;;
    esac
    say "$processor: passed"
done
