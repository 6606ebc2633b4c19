#!/usr/bin/env bash
# The server on a simulated machine, seed after seed; and its proof: what is broken on purpose is found.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: sim.sh [--store FILE] [--seeds N] [--first S] [--minutes M] [--threads T] [--twice]
       sim.sh --seed S
       sim.sh --mutants [FILTER]

Builds the simulator (sim/, a workspace of its own) into target/sim and runs it with the given options: N seeds
(default 1000), until the first that does not hold. Its own --help says more.

--store appends what the run has come to, with the commit of the sources, to FILE.

--mutants copies the sources into target/sim-mutants and puts all breaks of the list in this script into the copy, each
behind a number that is zero by default, so that one build has them all. Without any the seeds must hold, and each must
be found within SIM_SEEDS seeds (default 10000) and SIM_SECONDS seconds (default 600), SIM_JOBS of them at a time
(default 2). With FILTER only the mutants whose names contain it are run.

Exit code: 0 all hold, or every mutant was found; 1 not; 2 wrong use, or there is no such mutant.
HELP
}

help_option "$@"
cd "$root"

# build DIRECTORY TARGET: builds the simulator of a copy of the sources.
build() {
    cargo build --quiet --release --locked --manifest-path "$1/sim/Cargo.toml" --target-dir "$2"
}

if [[ ${1:-} == --store ]]; then
    (($# > 1)) || wrong_use
    file=$2 code=0
    shift 2
    commit=$(git rev-parse --short=10 HEAD)
    [[ -z $(git status --porcelain) ]] || commit+=", with changes"
    build "$root" target/sim
    output=$(target/sim/release/sim "$@") || code=$?
    printf '%s\n' "$output"
    {
        printf '\n%s, commit %s, sim %s\n\n' "$(date --utc '+%Y-%m-%d %H:%M UTC')" "$commit" "$*"
        grep '^seed [0-9]* fails:' <<<"$output" | tail -n 1 || true
        tail -n 1 <<<"$output"
    } >>"$file"
    exit "$code"
fi
if [[ ${1:-} != --mutants ]]; then
    build "$root" target/sim
    exec target/sim/release/sim "$@"
fi
if (($# > 2)); then
    wrong_use
fi
filter=${2:-} number=0 broken=0
copy=$root/target/sim-mutants
names=()

# change FILE OLD NEW: puts NEW in the place of OLD, which FILE must hold once.
change() {
    local source without
    source=$(<"$copy/$1")
    without=${source//"$2"/}
    if ((${#source} - ${#without} != ${#2})); then
        printf 'sim.sh: %s does not hold once what is to be broken:\n%s\n' "$1" "$2" >&2
        broken=1
        return
    fi
    printf '%s\n' "${source/"$2"/"$3"}" >"$copy/$1"
}

# mutant NAME FILE OLD NEW [FILE OLD NEW]...: makes these changes, in which BROKEN is true for this mutant alone.
mutant() {
    local name=$1
    shift
    number=$((number + 1))
    names[number]=$name
    while (($#)); do
        change "$1" "$2" "${3//BROKEN/host::is_broken($number)}"
        shift 3
    done
}

# run NUMBER: runs seeds with that mutant until one fails, and says what became of it.
run() {
    local name=${names[$1]} code=0 log line
    log=$copy/$name.log
    SIM_MUTANT=$1 timeout --kill-after=10 "${SIM_SECONDS:-600}" \
        "$copy/simulator" --seeds "${SIM_SEEDS:-10000}" >"$log" 2>&1 || code=$?
    line=$(grep -m1 '^seed [0-9]* fails:' "$log" || true)
    if ((code == 1)) && [[ -n $line ]]; then
        printf 'found: %-50s %s\n' "$name" "${line:0:150}"
        return
    fi
    printf 'NOT FOUND: %-46s code %s: %s\n' "$name" "$code" "$(tail -n 1 "$log" | cut -c 1-150)"
    return 1
}

# The copy keeps its times where nothing has changed, so that only what is broken anew is compiled.
mkdir -p "$copy"
rm -f "$copy"/*.log
for source in Cargo.toml Cargo.lock src tests crates reactor bench sim; do
    rm -rf "${copy:?}/$source"
    cp -rp "$source" "$copy"
done
cat >>"$copy/crates/host/src/lib.rs" <<'RUST'

/// True for the mutant that is on: the number in SIM_MUTANT.
#[must_use]
pub fn is_broken(number: u32) -> bool {
    static ON: std::sync::LazyLock<u32> =
        std::sync::LazyLock::new(|| std::env::var("SIM_MUTANT").ok().and_then(|on| on.parse().ok()).unwrap_or(0));
    *ON == number
}
RUST

log=crates/log/src
stored=$'        self.setup.service.stored(&hold.part);\n        let Some(connection) = self.connections'
counted_out=$'self.admins_open -= 1;\n            } else {\n'
counted_out+='                self.setup.connections.fetch_sub(1, Ordering::Relaxed);'
record='self.persist(|| self.file.record(size_bytes))?;'

# The writer: what is recorded, released and resumed when.
mutant head_released_before_the_record \
    $log/writer.rs "        $record" "        if !BROKEN { $record }" \
    $log/writer.rs $'        Ok(true)\n' \
    $'        if BROKEN { self.persist(|| self.file.record(self.committed_bytes))?; }\n        Ok(true)\n'
mutant record_before_the_append \
    $log/writer.rs 'let mut left = bytes;' \
    'let mut left = bytes;
        if BROKEN { self.persist(|| self.file.record(self.committed_bytes + bytes as u64))?; }'
mutant a_resumed_write_starts_at_the_first_byte \
    $log/writer.rs 'left -= taken;' 'left -= if BROKEN { taken.min(left) } else { taken };' \
    $log/writer.rs 'IoSlice::advance_slices(&mut rest, taken);' \
    'if !BROKEN || taken == left { IoSlice::advance_slices(&mut rest, taken); }'
mutant a_new_segment_is_not_recorded \
    $log/writer.rs 'self.persist(|| self.file.record(begun_bytes))' \
    'if BROKEN { Ok(()) } else { self.persist(|| self.file.record(begun_bytes)) }'
mutant the_writer_sleeps_without_a_look \
    $log/writer.rs $'announce_sleep();\n        if !self.has_news() {' \
    $'announce_sleep();\n        if BROKEN || !self.has_news() {'
mutant the_group_commit_is_not_rung \
    $log/writer.rs $'wakeups, 1);\n                self.status.group_commit_bell.wake();' \
    $'wakeups, 1);\n                if !BROKEN { self.status.group_commit_bell.wake(); }'

# The group commit: what a sync covers, and what follows one that fails.
mutant heads_read_after_the_sync_began \
    $log/group_commit.rs 'if ring.publish(written) {' \
    'let written = if BROKEN { written.max(ring.written()) } else { written };
            if ring.publish(written) {'
mutant a_failed_sync_is_tried_again \
    $log/group_commit.rs 'self.file.sync_data().map_err' \
    'self.file.sync_data().or_else(|error| if BROKEN { self.file.sync_data() } else { Err(error) }).map_err'
mutant fsync_is_acknowledged_as_write_is \
    $log/appender.rs 'AckLevel::Fsync => self.ring.durable(),' \
    'AckLevel::Fsync if BROKEN => self.ring.written(),
            AckLevel::Fsync => self.ring.durable(),'
mutant marked_clean_before_the_last_sync \
    $log/group_commit.rs $'self.sync()?;\n                    return self.file.mark_clean()' \
    'let marked = if BROKEN { Some(self.file.mark_clean()) } else { None };
                    self.sync()?;
                    return marked.unwrap_or_else(|| self.file.mark_clean())'

# Rotation: names, and what is still to be synced.
mutant rotation_does_not_sync_the_directory \
    $log/rotation.rs 'sync_directory(&self.directory).map_err(RotateError::Failed)?;' \
    'if !BROKEN { sync_directory(&self.directory).map_err(RotateError::Failed)?; }'
mutant unsynced_sealed_segments_are_dropped \
    $log/rotation.rs 'open.unsynced.push((name, left));' \
    'if BROKEN { drop(left); } else { open.unsynced.push((name, left)); }'
mutant maintenance_is_told_before_the_sync \
    $log/rotation.rs 'open.unsynced.push((name, left));' \
    'open.unsynced.push((name, left));
        if BROKEN && let (Some(name), Some(bell)) = (name, self.maintenance.get()) { bell.sealed(name); }'

# The start: what counts as whole, and what is synced before anything is appended.
mutant the_uncommitted_tail_is_not_cut \
    $log/recovery.rs '&& state.committed_bytes < size_bytes' \
    '&& (if BROKEN { state.committed_bytes > size_bytes } else { state.committed_bytes < size_bytes })'
mutant the_boot_is_not_compared \
    $log/state.rs '&& boot.continues(&self.boot)' '&& (boot.continues(&self.boot) || BROKEN)'
mutant the_start_does_not_sync_the_log \
    $log/directory.rs 'log.sync_all().map_err(|error| OpenError::new("sync", &log_path, error))?;' \
    'if !BROKEN { log.sync_all().map_err(|error| OpenError::new("sync", &log_path, error))?; }'
mutant the_start_does_not_sync_sealed_segments \
    $log/recovery.rs 'segment.sync_data().map_err(|error| ("sync", error))?;' \
    'if !BROKEN { segment.sync_data().map_err(|error| ("sync", error))?; }'
mutant the_start_does_not_sync_the_directory \
    $log/directory.rs $'sync_directory(directory).map_err(|error| OpenError::new("sync", directory, error))?;\n' \
    $'if !BROKEN { sync_directory(directory).map_err(|error| OpenError::new("sync", directory, error))?; }\n'
mutant the_start_does_not_sync_the_directories_above \
    $log/directory.rs 'match sync_directory(above) {' 'match if BROKEN { Ok(()) } else { sync_directory(above) } {'

# Maintenance: the files that it makes, and the one that it removes.
mutant a_draft_is_not_synced \
    $log/segment/draft.rs $'self.file.sync_all()?;\n' $'if !BROKEN { self.file.sync_all()?; }\n'
mutant a_draft_does_not_sync_the_directory \
    $log/segment/draft.rs $'self.kept = true;\n' $'self.kept = true;\n        if BROKEN { return Ok(()); }\n'
mutant the_plain_file_is_removed_before_the_sidecar \
    $log/segment/compress.rs 'sidecar.write(directory, name)?;' \
    'if BROKEN { remove_plain(directory, name)?; }
            sidecar.write(directory, name)?;' \
    $log/segment/compress.rs $'&sidecar, stop)?;\n' \
    $'&sidecar, stop)?;\n            if BROKEN { return Ok(compressed_bytes); }\n'
mutant a_compressed_file_is_not_read_back \
    $log/segment/compress.rs 'let compressed_bytes = check(directory, name, &sidecar, stop)?;' \
    'let compressed_bytes = if BROKEN { sidecar.compressed_bytes().unwrap_or(0) } else {
                check(directory, name, &sidecar, stop)?
            };'
mutant the_checksum_of_the_state_is_not_compared \
    $log/state.rs 'if written == text {' 'if written == text || BROKEN {'

# The limiter.
mutant the_limiter_admits_one_more \
    crates/rate/src/window.rs 'if self.len >= rule.limit {' \
    'if self.len > rule.limit || (self.len == rule.limit && !BROKEN) {'
mutant the_window_is_half_as_long \
    crates/rate/src/window.rs 'now_ns - self.oldest_ns >= rule.window_ns {' \
    'now_ns - self.oldest_ns >= rule.window_ns / (if BROKEN { 2 } else { 1 }) {'
mutant a_shed_batch_is_not_refunded \
    src/service/ingest.rs $'        self.refund(batch.charge);\n' $'        if !BROKEN { self.refund(batch.charge); }\n'

# What is counted.
mutant a_shed_batch_is_not_counted \
    src/service/refusals.rs $'        self.counters.shed_batch(protocol, reason);\n' \
    $'        if !BROKEN { self.counters.shed_batch(protocol, reason); }\n'
mutant an_abandoned_batch_is_not_counted \
    src/service.rs 'self.counters.reject_batch(protocol, Rejection::Abandoned);' \
    'if !BROKEN { self.counters.reject_batch(protocol, Rejection::Abandoned); }'
mutant a_batch_is_not_counted_without_its_connection \
    src/shard/state.rs "$stored" \
    $'        if BROKEN && self.connections.get(hold.token).is_none() { return; }\n'"$stored"
mutant memory_of_responses_is_not_given_back \
    src/shard/crowd.rs $'        self.response_bytes -= connection.response_bytes;\n        self.driver_bytes' \
    $'        if !BROKEN { self.response_bytes -= connection.response_bytes; }\n        self.driver_bytes'
mutant memory_of_the_driver_is_not_given_back \
    src/shard/crowd.rs $'        self.driver_bytes -= connection.kept_bytes;\n        self.leave' \
    $'        if !BROKEN { self.driver_bytes -= connection.kept_bytes; }\n        self.leave'

# Connections.
mutant a_response_at_fsync_is_released_at_write \
    src/shard/state.rs 'hold.part.position <= durable' \
    'hold.part.position <= (if BROKEN { written.max(durable) } else { durable })'
mutant a_connection_with_more_in_its_inbox_is_forgotten \
    src/shard/state.rs $'if !self.ready.is_empty()\n            || self.documents' \
    $'if (!self.ready.is_empty() && !BROKEN)\n            || self.documents'
mutant a_pause_is_not_taken_back \
    src/shard/state.rs 'if std::mem::replace(&mut connection.paused, pause) && !pause {' \
    'if std::mem::replace(&mut connection.paused, pause) && pause == BROKEN {'
mutant a_place_of_a_connection_is_not_given_back \
    src/shard/crowd.rs "$counted_out" \
    $'self.admins_open -= 1;\n            } else if !BROKEN {
                self.setup.connections.fetch_sub(1, Ordering::Relaxed);'
mutant a_refused_connection_is_not_given_back \
    src/shard/crowd.rs $'        self.refusals_open -= 1;\n' $'        if !BROKEN { self.refusals_open -= 1; }\n'

# Queries.
scan=crates/query/src/scan
mutant a_query_sees_what_is_not_written_whole \
    $scan/source.rs $'        } else {\n            published.bytes\n' \
    $'        } else if BROKEN {\n            metadata.len()\n        } else {\n            published.bytes\n'
mutant a_query_sees_a_segment_that_is_sealed_meanwhile_twice \
    $scan/source.rs '                Some(index) => sealed.truncate(index),
                None if is_written_still &&' \
    '                Some(index) => if !BROKEN { sealed.truncate(index) },
                None if is_written_still &&'
mutant a_query_reads_no_compressed_segment \
    $scan/open.rs 'for form in [SegmentFile::Plain, SegmentFile::Compressed] {' \
    'for form in [SegmentFile::Plain, if BROKEN { SegmentFile::Plain } else { SegmentFile::Compressed }] {'

((broken == 0)) || exit 1
selected=()
for ((number = 1; number < ${#names[@]} + 1; number += 1)); do
    [[ ${names[number]} != *"$filter"* ]] || selected+=("$number")
done
if ((${#selected[@]} == 0)); then
    printf 'sim.sh: there is no such mutant: %s\n' "$filter" >&2
    exit 2
fi
# In the directory of the other builds, which has everything compiled that is not of this tree.
build "$copy" target/sim
cp target/sim/release/sim "$copy/simulator"
names[0]=no_mutant
result=$copy/no_mutant.result
if SIM_SEEDS=$((${SIM_SEEDS:-10000} / 20 + 1)) run 0 >"$result" || ! grep -q 'code 0:' "$result"; then
    die 1 "without a mutant the seeds do not hold; see ${copy#"$root"/}/no_mutant.log"
fi
running=0 failed=0
for number in "${selected[@]}"; do
    if ((running == ${SIM_JOBS:-2})); then
        wait -n || failed=1
        running=$((running - 1))
    fi
    run "$number" &
    running=$((running + 1))
done
while ((running > 0)); do
    wait -n || failed=1
    running=$((running - 1))
done
exit "$failed"
