/* A disk that fails as it is told, by standing between the server and libc (ld.so(8), LD_PRELOAD).
 *
 * Only files below TORTURE_DIRECTORY are touched. TORTURE_FAULT names the fault, TORTURE_AFTER says how
 * many of the calls that it concerns go well before it. Once a sync has failed, every further one of a segment
 * or of the state is noted in TORTURE_JOURNAL, one line each: there must be none.
 *
 *   write-fails    writev(2) of the log fails with EIO from then on
 *   read-only      writev(2) and pwrite(2) fail with EROFS from then on
 *   torn-write     one writev(2) takes a part, the next fail with EIO, and so does ftruncate(2)
 *   quota-exceeded three writev(2) of the log fail with EDQUOT, and those after them go well: somebody made space
 *   drafts-full    write(2) to a file that is being made (.tmp: sidecar, compressed segment, cursor of a forward)
 *                  takes a part, then fails with ENOSPC, from then on
 *   short-writes   every writev(2) takes a part of what it is given; nothing fails
 *   record-fails   pwrite(2) (the state beside the log) fails with EIO from then on
 *   sync-fails     one fdatasync(2) fails with EIO, and those after it go well: the kernel has dropped the pages
 *   rename-fails   every rename(2) fails with EIO: the segment goes on
 *   rename-noreplace-unsupported   renameat2(2) with a flag fails with EINVAL, as on file systems that have none
 *   directory-sync-fails   fsync(2) of the directory fails with EIO from then on
 *   directory-sync-unsupported   fsync(2) of the directory fails with EINVAL, as on CIFS
 *   directory-lock-unsupported   flock(2) of the directory fails with EBADF, as on NFS
 *   clock-is-set   nothing fails; CLOCK_REALTIME is ahead by the seconds in the journal, which the test changes
 *   power-cut      nothing fails; each sync of a segment that went well is noted in the journal, as its inode and its length
 *                  before the sync: what a loss of power would leave for sure
 *   sigkill        SIGKILL at a call that changes a file or syncs one: before it, or in the middle of what it writes
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Writes that a quota refuses. The waits between them double from 100 ms. */
enum { QUOTA_REFUSALS = 3 };

static atomic_long calls_left = -1; /* of those that go well; read from the environment by `prepare` */
static atomic_int sync_has_failed;
static const char *directory, *fault, *journal;

__attribute__((constructor)) static void prepare(void) {
    const char *after = getenv("TORTURE_AFTER");
    directory = getenv("TORTURE_DIRECTORY");
    fault = getenv("TORTURE_FAULT");
    journal = getenv("TORTURE_JOURNAL");
    if (!directory || !fault || !journal || !after) {
        fprintf(stderr, "failing_disk: TORTURE_* is not set\n");
        _exit(2);
    }
    atomic_store(&calls_left, atol(after));
}

/* Whether the descriptor is of a file below the directory whose name ends so. */
static int is_ours(int fd, const char *ending) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes < 0) return 0;
    path[bytes] = 0;
    size_t end = strlen(ending);
    return strncmp(path, directory, strlen(directory)) == 0 && (size_t)bytes >= end
        && strcmp(path + bytes - end, ending) == 0;
}

static int is_fault(const char *name) { return strcmp(fault, name) == 0; }

/* Whether this call is the one that fails (0), or one after it (below 0). */
static long count_down(void) { return atomic_fetch_sub(&calls_left, 1); }

static ssize_t fail(int error) {
    errno = error;
    return -1;
}

/* Takes about half of what there is, at least a byte. */
static ssize_t take_a_part(int fd, const struct iovec *pieces, int count) {
    for (int i = 0; i < count; i++)
        if (pieces[i].iov_len > 0) return syscall(SYS_write, fd, pieces[i].iov_base, (pieces[i].iov_len + 1) / 2);
    return 0;
}

/* True if SIGKILL is due at this call. */
static int kills_here(int ours) { return is_fault("sigkill") && ours && count_down() == 0; }

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static void die_at(int fd) {
    if (kills_here(is_ours(fd, ""))) die();
}

static void die_at_path(const char *path) {
    if (kills_here(strncmp(path, directory, strlen(directory)) == 0)) die();
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    if (kills_here(is_ours(fd, ""))) {
        take_a_part(fd, pieces, count);
        die();
    }
    if (is_ours(fd, ".jsonl")) {
        if (is_fault("short-writes")) return take_a_part(fd, pieces, count);
        if (is_fault("write-fails") && count_down() <= 0) return fail(EIO);
        if (is_fault("read-only") && count_down() <= 0) return fail(EROFS);
        if (is_fault("quota-exceeded")) {
            long left = count_down();
            if (left <= 0 && left > -QUOTA_REFUSALS) return fail(EDQUOT);
        }
        if (is_fault("torn-write")) {
            long left = count_down();
            if (left == 0) return take_a_part(fd, pieces, count);
            if (left < 0) return fail(EIO);
        }
    }
    return syscall(SYS_writev, fd, pieces, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    die_at(fd);
    if (is_ours(fd, ".state")) {
        if (is_fault("record-fails") && count_down() <= 0) return fail(EIO);
        if (is_fault("read-only") && atomic_load(&calls_left) <= 0) return fail(EROFS);
    }
    return syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

int ftruncate64(int fd, off64_t bytes) {
    die_at(fd);
    if (is_ours(fd, ".jsonl") && is_fault("torn-write") && atomic_load(&calls_left) < 0) return (int)fail(EIO);
    return (int)syscall(SYS_ftruncate, fd, bytes);
}

int ftruncate(int fd, off_t bytes) { return ftruncate64(fd, bytes); }

/* A sync of a segment, or of the state that would call it closed, after one that has failed is noted. */
static void note_sync(int fd) {
    if (!atomic_load(&sync_has_failed) || !(is_ours(fd, ".jsonl") || is_ours(fd, ".state"))) return;
    int note = open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (note < 0 || syscall(SYS_write, note, "sync\n", 5) != 5) abort();
    close(note);
}

static int sync_noted(int fd, long call) {
    struct stat before;
    char line[64];
    int noted = is_fault("power-cut") && is_ours(fd, ".jsonl") && fstat(fd, &before) == 0;
    int result = (int)syscall(call, fd);
    if (result == 0 && noted) {
        int bytes = snprintf(line, sizeof line, "%llu %lld\n", (unsigned long long)before.st_ino, (long long)before.st_size);
        int note = open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (note < 0 || syscall(SYS_write, note, line, bytes) != bytes) abort();
        close(note);
    }
    return result;
}

int fdatasync(int fd) {
    note_sync(fd);
    die_at(fd);
    if (is_fault("sync-fails") && is_ours(fd, ".jsonl") && count_down() == 0) {
        atomic_store(&sync_has_failed, 1);
        return (int)fail(EIO);
    }
    return sync_noted(fd, SYS_fdatasync);
}

int fsync(int fd) {
    struct stat found;
    note_sync(fd);
    die_at(fd);
    if (is_fault("directory-sync-fails") && is_ours(fd, "") && fstat(fd, &found) == 0
        && S_ISDIR(found.st_mode) && count_down() <= 0)
        return (int)fail(EIO);
    if (is_fault("directory-sync-unsupported") && fstat(fd, &found) == 0 && S_ISDIR(found.st_mode))
        return (int)fail(EINVAL);
    return sync_noted(fd, SYS_fsync);
}

int flock(int fd, int operation) {
    struct stat found;
    if (is_fault("directory-lock-unsupported") && is_ours(fd, "") && fstat(fd, &found) == 0 && S_ISDIR(found.st_mode))
        return (int)fail(EBADF);
    return (int)syscall(SYS_flock, fd, operation);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    /* Also asked before `prepare` has run. */
    if (result != 0 || clock != CLOCK_REALTIME || !fault || !journal || !is_fault("clock-is-set")) return result;
    char digits[32] = {0};
    int set = (int)syscall(SYS_openat, AT_FDCWD, journal, O_RDONLY | O_CLOEXEC, 0);
    if (set < 0) return result;
    if (syscall(SYS_read, set, digits, sizeof digits - 1) > 0) time->tv_sec += atol(digits);
    syscall(SYS_close, set);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (is_fault("drafts-full") && is_ours(fd, ".tmp")) {
        long left = count_down();
        if (left == 0 && count > 1) return syscall(SYS_write, fd, bytes, count / 2);
        if (left <= 0) return fail(ENOSPC);
    }
    if (kills_here(is_ours(fd, ""))) {
        syscall(SYS_write, fd, bytes, count / 2);
        die();
    }
    return syscall(SYS_write, fd, bytes, count);
}

/* The rest only to die at it, or to be refused. */

int rename(const char *from, const char *to) {
    die_at_path(from);
    if (is_fault("rename-fails") && strncmp(from, directory, strlen(directory)) == 0) return (int)fail(EIO);
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags) {
    die_at_path(from);
    if (is_fault("rename-fails") && strncmp(from, directory, strlen(directory)) == 0) return (int)fail(EIO);
    if (is_fault("rename-noreplace-unsupported") && flags != 0) return (int)fail(EINVAL);
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int unlink(const char *path) {
    die_at_path(path);
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int link(const char *from, const char *to) {
    die_at_path(to);
    return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = (mode_t)va_arg(rest, int);
        va_end(rest);
        die_at_path(path);
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
