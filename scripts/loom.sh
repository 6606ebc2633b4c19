#!/usr/bin/env bash
# Every loom model: all interleavings of the lock-free code, within loom's bounds. And its proof: what is broken on
# purpose makes a model fail.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: loom.sh [FILTER]
       loom.sh --mutants [FILTER]

Runs the models, crates/*/tests/loom_*.rs, built with --cfg loom into target/loom. With
FILTER only the tests whose names contain it. Exit code: 0 all hold, 1 not, 2 there is none.

--mutants copies the sources into target/loom-mutants and breaks the copy in one place after the other, by the list in
this script: a fence, an ordering, a second look, a wake-up. For each of them the model that is named must fail. With
FILTER only the mutants whose names contain it. Exit code: 0 every one was found, 1 not, 2 there is none.

environment: LOOM_MAX_PREEMPTIONS  switches between threads per execution (default 3; more takes much longer)
             LOOM_SECONDS          after how long it is aborted (default 1800)
HELP
}

help_option "$@"
mutants=0
if [[ ${1:-} == --mutants ]]; then
    mutants=1
    shift
fi
if (($# > 1)) || [[ ${1:-} == -* ]]; then
    wrong_use
fi
filter=${1:-}

cd "$root"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3}
target_dir=$root/target/loom
count=0 failed=0

# model PACKAGE TEST [ARGUMENT…]: builds and runs one file of models, in the directory it is called in.
model() {
    timeout --kill-after=10 "${LOOM_SECONDS:-1800}" \
        cargo test --locked --target-dir "$target_dir" --package "$1" --test "$2" "${@:3}"
}

# mutant NAME FILE PACKAGE TEST MODEL OLD NEW: puts NEW in the place of OLD, which FILE must hold once, and runs MODEL.
mutant() {
    local name=$1 file=$2 package=$3 test=$4 model=$5 old=$6 new=$7 source without code=0
    [[ $name == *"$filter"* ]] || return 0
    count=$((count + 1))
    source=$(<"$root/$file")
    without=${source//"$old"/}
    if ((${#source} - ${#without} != ${#old})); then
        printf 'loom.sh: %s: %s does not hold once what is to be broken:\n%s\n' "$name" "$file" "$old" >&2
        failed=1
        return
    fi
    printf '%s\n' "${source/"$old"/"$new"}" >"$copy/$file"
    (
        cd "$copy"
        # A mutant that does not compile has proved nothing.
        model "$package" "$test" --quiet --no-run || exit 99
        model "$package" "$test" --quiet -- --exact "$model"
    ) >"$copy/$name.log" 2>&1 || code=$?
    cp "$root/$file" "$copy/$file"
    case $code in
    0 | 99 | 124 | 137)
        printf 'loom.sh: %s is not found by %s (code %s); see %s\n' "$name" "$model" "$code" "${copy#"$root"/}/$name.log" >&2
        failed=1
        ;;
    *)
        if ! grep -q "^running 1 test" "$copy/$name.log"; then
            printf 'loom.sh: %s: there is no model %s\n' "$name" "$model" >&2
            failed=1
        else
            printf 'found: %-36s by %s\n' "$name" "$model"
        fi
        ;;
    esac
}

if ((mutants)); then
    # Built into a place of its own: to cargo the copy is the same workspace, and it would take one's objects for the
    # other's.
    target_dir=$root/target/loom-mutants/target copy=$root/target/loom-mutants/sources
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -r Cargo.toml Cargo.lock src tests crates reactor bench "$copy"

    # The doorbell: either fence, on each side.
    doorbell=crates/wake/src/doorbell.rs
    mutant doorbell_sleeper_fence $doorbell metricstream-wake loom_doorbell one_publisher \
        $'swap(true, Ordering::Relaxed);\n        fence(Ordering::SeqCst);' 'swap(true, Ordering::Relaxed);'
    mutant doorbell_publisher_fence $doorbell metricstream-wake loom_doorbell one_publisher \
        $'fence(Ordering::SeqCst);\n        self.0.load' 'self.0.load'

    # The notices of a channel: each fence, and each ordering of the flag that announces.
    notices=crates/wake/src/notices.rs noticed=what_is_put_is_noticed space=who_waits_for_space_is_notified_once
    mutant notices_writer_fence $notices metricstream-wake loom_notices $space \
        $'fence(Ordering::SeqCst);\n        let is_over' 'let is_over'
    mutant notices_reader_fence $notices metricstream-wake loom_notices $space \
        $'fence(Ordering::SeqCst);\n        self.waits.load' 'self.waits.load'
    mutant notices_cancel_fence $notices metricstream-wake loom_notices who_waits_for_space_is_notified_of_the_end \
        $'fence(Ordering::SeqCst);\n        self.waits.load' 'self.waits.load'
    mutant notices_announce_order $notices metricstream-wake loom_notices $noticed \
        'self.announced.swap(true, Ordering::AcqRel)' 'self.announced.swap(true, Ordering::Relaxed)'
    mutant notices_accept_order $notices metricstream-wake loom_notices $noticed \
        'self.announced.swap(false, Ordering::AcqRel)' 'self.announced.swap(false, Ordering::Relaxed)'
    mutant notices_waits_although_there_is_space $notices metricstream-wake loom_notices $space \
        '!(is_over && self.waits.swap(false, Ordering::AcqRel))' '!is_over'

    # The ring: each end of both positions.
    ring=crates/log/src/ring.rs
    passes=bytes_pass_once_and_in_order_around_the_end
    mutant ring_tail_store $ring metricstream-log loom_ring $passes \
        'line.tail.store(self.staged, Ordering::Release)' 'line.tail.store(self.staged, Ordering::Relaxed)'
    mutant ring_tail_load $ring metricstream-log loom_ring $passes \
        'self.tail_cached = self.shared.producer.0.tail.load(Ordering::Acquire)' \
        'self.tail_cached = self.shared.producer.0.tail.load(Ordering::Relaxed)'
    mutant ring_head_store $ring metricstream-log loom_ring $passes \
        'head.0.store(self.head, Ordering::Release)' 'head.0.store(self.head, Ordering::Relaxed)'
    mutant ring_head_load $ring metricstream-log loom_ring $passes \
        $'self.head_cached = self.shared.head.0.load(Ordering::Acquire);\n            if' \
        $'self.head_cached = self.shared.head.0.load(Ordering::Relaxed);\n            if'
    mutant ring_durable_store $ring metricstream-log loom_ring written_and_durable_are_seen_after_the_file \
        'durable.0.store(position, Ordering::Release)' 'durable.0.store(position, Ordering::Relaxed)'

    # The extents: both ends of the number of those put, and the slots that are not free yet.
    extent=crates/log/src/extent.rs whole=an_extent_is_taken_whole
    mutant extent_put_store $extent metricstream-log loom_extent $whole \
        'self.shared.put.store(self.put, Ordering::Release)' 'self.shared.put.store(self.put, Ordering::Relaxed)'
    mutant extent_put_load $extent metricstream-log loom_extent $whole \
        'self.shared.put.load(Ordering::Acquire)' 'self.shared.put.load(Ordering::Relaxed)'
    mutant extent_slot_is_not_free $extent metricstream-log loom_extent $whole \
        'self.shared.taken.load(Ordering::Acquire) == SLOTS as u64 {' \
        'self.shared.taken.load(Ordering::Acquire) == SLOTS as u64 + 1 {'

    # The log: what a sync covers, who looks again before sleeping, who is woken.
    group_commit=crates/log/src/group_commit.rs writer=crates/log/src/writer.rs status=crates/log/src/status.rs
    released=a_response_at_fsync_is_released_by_a_sync_that_covers_it
    mutant snapshot_after_the_sync $group_commit metricstream-log loom_log \
        bytes_written_while_a_sync_runs_are_not_covered_by_it \
        'if ring.publish(written) {' 'if ring.publish(written.max(ring.written())) {'
    mutant group_commit_sleeps_without_a_look $group_commit metricstream-log loom_log $released \
        'if !self.is_wanted() && ' 'if '
    mutant group_commit_is_not_rung $writer metricstream-log loom_log $released \
        $'wakeups, 1);\n                self.status.group_commit_bell.wake();' 'wakeups, 1);'
    mutant writer_sleeps_without_a_look $writer metricstream-log loom_log $released \
        $'announce_sleep();\n        if !self.has_news() {' $'announce_sleep();\n        {'
    mutant failure_does_not_wake_the_reactors $status metricstream-log loom_log a_failed_sync_wakes_everybody \
        'self.reactor_bells.iter().for_each(|bell| bell.signal());' ''
    mutant failure_does_not_wake_the_writer $status metricstream-log loom_log a_failed_sync_wakes_everybody \
        'self.writer_bell.signal();' ''
    published=what_was_acknowledged_is_published_and_in_the_file
    mutant published_store crates/log/src/high_watermark.rs metricstream-log loom_log $published \
        'bytes.min(BYTES_MAX), Ordering::Release)' 'bytes.min(BYTES_MAX), Ordering::Relaxed)'
    mutant published_load crates/log/src/high_watermark.rs metricstream-log loom_log $published \
        'let before = self.segment_and_bytes.load(Ordering::Acquire)' \
        'let before = self.segment_and_bytes.load(Ordering::Relaxed)'
    mutant answered_and_not_published $writer metricstream-log loom_log $published \
        $'self.status.advance(self.committed_bytes);\n' $'\n'
    mutant end_of_the_writer_store $status metricstream-log loom_log \
        who_sees_the_writers_end_sees_everything_written \
        'self.writer_end.store(end as u8, Ordering::Release)' 'self.writer_end.store(end as u8, Ordering::Relaxed)'

    # The limiter: a refund takes its own stamp out, and does take it out.
    window=crates/rate/src/window.rs
    mutant refund_takes_the_newest $window metricstream-rate loom_rate a_refund_takes_no_other_cores_stamp \
        '_ if stamp_ns == self.newest_ns =>' '_ if stamp_ns <= self.newest_ns =>'
    mutant refund_takes_nothing $window metricstream-rate loom_rate what_is_given_back_is_had_once_by_another_core \
        'self.take_out(stamp_ns, pool);' ''

    if ((count == 0)); then
        printf 'loom.sh: there is no such mutant: %s\n' "$filter" >&2
        exit 2
    fi
    exit "$failed"
fi

shopt -s nullglob
for file in crates/*/tests/loom_*.rs; do
    package=metricstream-$(cut -d/ -f2 <<<"$file")
    count=$((count + 1))
    model "$package" "$(basename "$file" .rs)" -- --nocapture ${filter:+"$filter"} || {
        printf 'loom.sh: %s does not hold\n' "$file" >&2
        failed=1
    }
done
if ((count == 0)); then
    printf 'loom.sh: there is no model: crates/*/tests/loom_*.rs\n' >&2
    exit 2
fi
exit "$failed"
