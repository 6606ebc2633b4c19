# Sourced by the torture scripts: builds the server and the test, and sets `binary` and `torture`.
# shellcheck shell=bash

build_torture() {
    local target
    target=${CARGO_TARGET_DIR:-$root/target}
    (cd "$root" && cargo build --release --quiet --workspace --bin metricstream --bin torture)
    # shellcheck disable=SC2034 # Both are for the script that sources this.
    binary=${BINARIES:-$target/release}/metricstream
    # shellcheck disable=SC2034
    torture=$target/release/torture
}
