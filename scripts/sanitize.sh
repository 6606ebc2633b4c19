#!/usr/bin/env bash
# The tests under ThreadSanitizer or AddressSanitizer, on a nightly compiler: the units, the reactor's contract, and
# the real server over real sockets on both drivers.
#
# What is seen: every access of this workspace's code and of the crates built with it (generic code of the standard
# library among them, as it is compiled here). What is not:
#   - The standard library itself comes compiled without instrumentation. ThreadSanitizer does not see the order that
#     its Mutex, Condvar, park and Arc make inside; crates/host/src/ordered.rs tells it of our own locks (--cfg tsan),
#     and the rest of what it then reports falsely is in tsan.suppressions, with the reasons. It sees threads begin and
#     end, and atomics.
#   - ThreadSanitizer knows no fences: the doorbell's are the model checker's to judge (loom.sh).
#   - What the kernel does for io_uring: its reads of send buffers, its writes into receive buffers and its ends of the
#     two queues happen in no instrumented code. A buffer that is given back too early shows only if a thread touches it
#     too; one that the kernel writes to after it was freed does not. The contract's traces and patterns test for that.
#   - C (zstd) is not instrumented. Its allocations are watched; its accesses are not.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: sanitize.sh thread|address [FILTER…]
       sanitize.sh --self-test [thread|address]

Builds the tests of metricstream, reactor and crates/ under the sanitizer into target/sanitize-thread or
target/sanitize-address, and runs them; with FILTERs only those whose names contain one of them. `address` also looks
for leaks (LeakSanitizer). First a program with a known bug is run: a sanitizer that does not report it ends the run.
--self-test is that step alone.

Prints the reports of all processes, servers that were killed among them, and ends with the totals; each process with
a report counts as one failed. Exit code: 0 all passed and nothing was reported, 1 not, 2 wrong use, 3 skipped: there
is no nightly.
HELP
}

cd "$root"
self_test_only=0
if [[ ${1:-} == --self-test ]]; then
    self_test_only=1
    shift
    kinds=("$@")
    (($# > 0)) || kinds=(thread address)
else
    kinds=("${@:1:1}")
fi
for kind in "${kinds[@]}"; do
    case $kind in
    --help | -h) help_option "$kind" ;;
    thread | address) ;;
    *) wrong_use ;;
    esac
done
((${#kinds[@]} > 0)) || wrong_use
if ! rustc +nightly --version >/dev/null 2>&1; then
    printf 'skipped: nightly is not installed (rustup toolchain install nightly)\n'
    exit 3
fi
host=$(rustc +nightly -vV | sed -n 's/^host: //p')

# Sets the flags of the compiler and of the sanitizer's runtime. The mismatch that is allowed is the standard library's.
choose() {
    target_dir=$PWD/target/sanitize-$1
    reports=$target_dir/reports
    rm -rf "$reports"
    mkdir -p "$reports"
    # Lines of dependencies too, which the profile leaves out: generic code of the standard library is compiled into
    # whichever crate needs it first, and a suppression finds it by its file.
    flags=("-Zsanitizer=$1" -Cunsafe-allow-abi-mismatch=sanitizer -Cforce-frame-pointers=yes
        -Cdebuginfo=line-tables-only)
    [[ $1 != thread ]] || flags+=(--cfg tsan)
    export TSAN_OPTIONS="suppressions=$PWD/scripts/tsan.suppressions:log_path=$reports/report:exitcode=66"
    export ASAN_OPTIONS="detect_leaks=1:log_path=$reports/report:exitcode=66"
}

# known_bug SANITIZER NAME WORDS: compiles a program that does NAME, runs it, and wants WORDS to be reported.
known_bug() {
    local kind=$1 bug=$2 words=$3 program=$target_dir/known_bug code=0
    rustc +nightly --edition 2024 --target "$host" "${flags[@]}" -o "$program" - <<'RUST'
use std::{hint::black_box, thread};

static mut SHARED: u64 = 0;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("race") => {
            let threads = [0, 1].map(|_| {
                thread::spawn(|| (0..1000).for_each(|_| unsafe { *black_box(&raw mut SHARED) += 1 }))
            });
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
        Some("use-after-free") => {
            let number = Box::new(7_u64);
            let freed = &raw const *number;
            drop(number);
            println!("{}", unsafe { *black_box(freed) });
        }
        Some("leak") => {
            black_box(Box::leak(Box::new([7_u64; 100])));
        }
        other => panic!("no such bug: {other:?}"),
    }
}
RUST
    "$program" "$bug" >/dev/null || code=$?
    if ((code != 66)) || ! grep -rq "$words" "$reports"; then
        printf 'sanitize.sh: the sanitizer does not see a known %s (exit code %s)\n' "$bug" "$code" >&2
        cat "$reports"/* 2>/dev/null >&2 || true
        exit 1
    fi
    printf '%s: a known %s is reported\n' "$kind" "$bug"
    rm -f "$reports"/*
}

self_test() {
    choose "$1"
    case $1 in
    thread) known_bug thread race 'ThreadSanitizer: data race' ;;
    address)
        known_bug address use-after-free 'AddressSanitizer: heap-use-after-free'
        known_bug address leak 'LeakSanitizer: detected memory leaks'
        ;;
    esac
}

for kind in "${kinds[@]}"; do
    self_test "$kind"
done
if ((self_test_only)); then
    exit 0
fi

# Left out, by name, with the reason. It must be a test that cannot mean anything here.
left_out=(
    # Measures the resident memory of a large calloc, which the sanitizers' allocators touch or shadow.
    ring::tests::memory_is_taken_as_it_is_used
    # Measures the server's resident memory, of which the sanitizer's shadow is a part.
    pressure::more_bodies_than_memory
    crowd::memory_is_given_back_after_a_flood
    # Limits the address space to less than the sanitizers' shadows reserve at the start.
    too_little_address_space_is_one_line
)
if [[ ${kinds[0]} == address ]]; then
    # Measures the server's resident memory: the sanitizer keeps what was freed from being used again, up to 256 MiB of
    # it.
    left_out+=(concurrency::a_client_that_never_reads::)
fi
if [[ ${kinds[0]} == thread ]]; then
    # Run out of descriptors on purpose: the sanitizer can then neither look a stack up, to see that it is suppressed,
    # nor write its report down.
    left_out+=(running_out_of_descriptors_is_survived pressure::out_of_descriptors)
    # Lets the commands write no byte into a file (ulimit -f 0): the sanitizer writes one as it starts.
    left_out+=(exit_codes_survive_a_limit_of_file_sizes)
fi
skips=()
for name in "${left_out[@]}"; do
    printf 'left out: %s\n' "$name"
    skips+=(--skip "$name")
done

log=$target_dir/tests.log
crates=()
for directory in crates/*/; do
    crates+=(--package "metricstream-$(basename "$directory")")
done
code=0
RUSTFLAGS="${flags[*]}" cargo +nightly test --locked --no-fail-fast --target "$host" --target-dir "$target_dir" \
    --package metricstream --package reactor "${crates[@]}" --lib --bins --tests -- "${@:2}" "${skips[@]}" 2>&1 | tee "$log" || code=$?

shopt -s nullglob
processes=("$reports"/*)
if ((${#processes[@]} > 0)); then
    printf '\nreported, and in full in %s:\n' "${reports#"$PWD"/}"
    grep -h '^SUMMARY' "${processes[@]}" | sed 's/^SUMMARY: //' | sort | uniq -c | sort -rn
fi
# cargo prints one result line for each test binary.
read -r passed failed < <(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0, failed + 0 }' "$log")
failed=$((failed + ${#processes[@]}))
if ((failed == 0 && code != 0)); then
    printf '\nsanitize.sh: cargo ended with code %s\n' "$code" >&2
    failed=1
fi
printf '\n%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
