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

--mutants copies the sources into target/sim-mutants and breaks the copy in one place after the other, by the list in
this script. Each of them must be found within SIM_SEEDS seeds (default 10000) and 10 minutes. With FILTER only the
mutants whose names contain it.

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
filter=${2:-} count=0 failed=0
target_dir=$root/target/sim-mutants/target copy=$root/target/sim-mutants/sources

# change FILE OLD NEW: puts NEW in the place of OLD, which FILE must hold once.
change() {
    local source without
    source=$(<"$copy/$1")
    without=${source//"$2"/}
    if ((${#source} - ${#without} != ${#2})); then
        printf 'sim.sh: %s does not hold once what is to be broken:\n%s\n' "$1" "$2" >&2
        return 1
    fi
    printf '%s\n' "${source/"$2"/"$3"}" >"$copy/$1"
}

# mutant NAME FILE OLD NEW [FILE OLD NEW]...: makes these changes, and runs seeds until one fails.
mutant() {
    local name=$1 code=0 files=() file
    shift
    [[ $name == *"$filter"* ]] || return 0
    count=$((count + 1))
    while (($#)); do
        files+=("$1")
        change "$1" "$2" "$3" || code=98
        shift 3
    done
    if ((code == 0)); then
        {
            # A mutant that does not compile has proved nothing.
            if build "$copy" "$target_dir"; then
                timeout --kill-after=10 600 "$target_dir/release/sim" --seeds "${SIM_SEEDS:-10000}" || code=$?
            else
                code=99
            fi
        } >"$copy/$name.log" 2>&1
    fi
    for file in "${files[@]}"; do
        cp "$root/$file" "$copy/$file"
    done
    if ((code == 1)) && grep -q '^seed [0-9]* fails:' "$copy/$name.log"; then
        printf 'found: %-44s %s\n' "$name" "$(grep -m1 '^seed [0-9]* fails:' "$copy/$name.log")"
    else
        printf 'sim.sh: %s is not found (code %s); see %s\n' "$name" "$code" "${copy#"$root"/}/$name.log" >&2
        failed=1
    fi
}

rm -rf "$copy"
mkdir -p "$copy"
cp -r Cargo.toml Cargo.lock src tests crates reactor bench sim "$copy"

log=crates/log/src
pushed=$'open.unsynced.push((name, left));\n'
pushed+='if let (Some(name), Some(bell)) = (name, self.maintenance.get()) { bell.sealed(name) }'
stored=$'        self.setup.service.stored(&hold.part);\n        let Some(connection) = self.connections'
counted_out=$'self.admins_open -= 1;\n            } else {\n'
counted_out+='                self.setup.connections.fetch_sub(1, Ordering::Relaxed);'
record=$'self.persist(|| self.file.record(size_bytes))?;\n'

# The writer: what is recorded, released and resumed when.
mutant head_released_before_the_record \
    $log/writer.rs "        $record" '' \
    $log/writer.rs $'        Ok(true)\n' \
    $'        self.persist(|| self.file.record(self.committed_bytes))?;\n        Ok(true)\n'
mutant record_before_the_append \
    $log/writer.rs 'let mut left = bytes;' \
    $'let mut left = bytes;\n        self.persist(|| self.file.record(self.committed_bytes + bytes as u64))?;'
mutant a_resumed_write_starts_at_the_first_byte \
    $log/writer.rs 'left -= taken;' 'left -= taken.min(left);' \
    $log/writer.rs 'IoSlice::advance_slices(&mut rest, taken);' \
    'if taken == left { IoSlice::advance_slices(&mut rest, taken); }'
mutant a_new_segment_is_not_recorded \
    $log/writer.rs 'self.persist(|| self.file.record(begun_bytes))' 'Ok(())'
mutant the_writer_sleeps_without_a_look \
    $log/writer.rs $'announce_sleep();\n        if !self.has_news() {' $'announce_sleep();\n        {'
mutant the_group_commit_is_not_rung \
    $log/writer.rs $'wakeups, 1);\n                self.status.group_commit_bell.wake();' 'wakeups, 1);'

# The group commit: what a sync covers, and what follows one that fails.
mutant heads_read_after_the_sync_began \
    $log/group_commit.rs 'if ring.publish(written) {' 'if ring.publish(written.max(ring.written())) {'
mutant a_failed_sync_is_tried_again \
    $log/group_commit.rs 'self.file.sync_data().map_err' \
    'self.file.sync_data().or_else(|_| self.file.sync_data()).map_err'
mutant fsync_is_acknowledged_as_write_is \
    $log/appender.rs 'AckLevel::Fsync => self.ring.durable(),' 'AckLevel::Fsync => self.ring.written(),'
mutant marked_clean_before_the_last_sync \
    $log/group_commit.rs $'self.sync()?;\n                    return self.file.mark_clean()' \
    $'let marked = self.file.mark_clean();\n                    self.sync()?;\n                    return marked'

# Rotation: names, and what is still to be synced.
mutant rotation_does_not_sync_the_directory \
    $log/rotation.rs 'sync_directory(&self.directory).map_err(RotateError::Failed)?;' ''
mutant unsynced_sealed_segments_are_dropped \
    $log/rotation.rs 'open.unsynced.push((name, left));' 'drop(left);'
mutant maintenance_is_told_before_the_sync \
    $log/rotation.rs 'open.unsynced.push((name, left));' "$pushed"

# The start: what counts as whole, and what is synced before anything is appended.
mutant the_uncommitted_tail_is_not_cut \
    $log/recovery.rs '&& state.committed_bytes < size_bytes' '&& state.committed_bytes > size_bytes'
mutant the_boot_is_not_compared \
    $log/state.rs '&& boot.continues(&self.boot)' '&& (boot.continues(&self.boot) || true)'
mutant the_start_does_not_sync_the_log \
    $log/directory.rs 'log.sync_all().map_err(|error| OpenError::new("sync", &log_path, error))?;' ''
mutant the_start_does_not_sync_sealed_segments \
    $log/recovery.rs 'segment.sync_data().map_err(|error| ("sync", error))?;' ''
mutant the_start_does_not_sync_the_directory \
    $log/directory.rs $'sync_directory(directory).map_err(|error| OpenError::new("sync", directory, error))?;\n' ''
mutant the_start_does_not_sync_the_directories_above \
    $log/directory.rs 'match sync_directory(above) {' 'match Ok::<(), io::Error>(drop(above)) {'

# Maintenance: the files that it makes, and the one that it removes.
mutant a_draft_is_not_synced \
    $log/segment/draft.rs $'self.file.sync_all()?;\n' $'\n'
mutant a_draft_does_not_sync_the_directory \
    $log/segment/draft.rs $'self.kept = true;\n        sync_directory(self.directory)' \
    $'self.kept = true;\n        Ok(())'
mutant the_plain_file_is_removed_before_the_sidecar \
    $log/segment/compress.rs 'sidecar.write(directory, name)?;' \
    $'remove_plain(directory, name)?;\n            sidecar.write(directory, name)?;' \
    $log/segment/compress.rs \
    $'&sidecar, stop)?;\n            remove_plain(directory, name).map(|()| compressed_bytes)' \
    $'&sidecar, stop)?;\n            Ok(compressed_bytes)'

mutant a_compressed_file_is_not_read_back \
    $log/segment/compress.rs \
    $'let compressed_bytes = check(directory, name, &sidecar, stop)?;\n            remove_plain' \
    $'let compressed_bytes = sidecar.compressed_bytes().unwrap_or(0);\n            remove_plain'
mutant the_checksum_of_the_state_is_not_compared \
    $log/state.rs 'if written == text { Standing::Sound } else { Standing::Damaged }' \
    '{ let _ = &written; Standing::Sound }'

# The limiter.
mutant the_limiter_admits_one_more \
    crates/rate/src/window.rs 'if self.len >= rule.limit {' 'if self.len > rule.limit {'
mutant the_window_is_half_as_long \
    crates/rate/src/window.rs 'now_ns - self.oldest_ns >= rule.window_ns {' \
    'now_ns - self.oldest_ns >= rule.window_ns / 2 {'
mutant a_shed_batch_is_not_refunded \
    src/service/ingest.rs $'        self.refund(batch.charge);\n' ''

# What is counted.
mutant a_shed_batch_is_not_counted \
    src/service/refusals.rs $'        self.counters.shed_batch(protocol, reason);\n' ''
mutant an_abandoned_batch_is_not_counted \
    src/service.rs $'self.counters.reject_batch(protocol, Rejection::Abandoned);' ''
mutant a_batch_is_not_counted_without_its_connection \
    src/shard/state.rs \
    "$stored" \
    $'        if self.connections.get(hold.token).is_none() { return; }\n'"$stored"
mutant memory_of_responses_is_not_given_back \
    src/shard/crowd.rs $'        self.response_bytes -= connection.response_bytes;\n        self.driver_bytes' \
    '        self.driver_bytes'
mutant memory_of_the_driver_is_not_given_back \
    src/shard/crowd.rs $'        self.driver_bytes -= connection.kept_bytes;\n        self.leave' '        self.leave'

# Connections.
mutant a_response_at_fsync_is_released_at_write \
    src/shard/state.rs 'hold.part.position <= durable' 'hold.part.position <= written.max(durable)'
mutant a_connection_with_more_in_its_inbox_is_forgotten \
    src/shard/state.rs $'if !self.ready.is_empty()\n            || self.documents' 'if self.documents'
mutant a_pause_is_not_taken_back \
    src/shard/state.rs 'if std::mem::replace(&mut connection.paused, pause) && !pause {' \
    'if std::mem::replace(&mut connection.paused, pause) && pause {'
mutant a_place_of_a_connection_is_not_given_back \
    src/shard/crowd.rs \
    "$counted_out" $'self.admins_open -= 1;\n            } else {'
mutant a_refused_connection_is_not_given_back \
    src/shard/crowd.rs $'        self.refusals_open -= 1;\n' ''

if ((count == 0)); then
    printf 'sim.sh: there is no such mutant: %s\n' "$filter" >&2
    exit 2
fi
exit "$failed"
