# Sourced first by every script: strict mode, where the tree is, and what all scripts do alike. Each defines usage().
# shellcheck shell=bash
set -euo pipefail

# The script's name, for its messages; the directory of the scripts; the root of the tree.
script=${0##*/}
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$scripts")

say() {
    printf '%s: %s\n' "$script" "$*" >&2
}

# usage: die EXIT_CODE MESSAGE
die() {
    say "$2"
    exit "$1"
}

# Ends a script that is used wrongly. Exit code 2.
wrong_use() {
    usage >&2
    exit 2
}

# usage: help_option "$@": prints the help when that is what is wanted.
help_option() {
    case ${1:-} in
        --help | -h)
            usage
            exit 0
            ;;
    esac
}

# usage: no_arguments "$@": for a script without any but --help.
no_arguments() {
    help_option "$@"
    (($# == 0)) || wrong_use
}

# usage: need_tools HINT COMMAND…: skips the script when a command is missing; HINT says how to get it.
need_tools() {
    local hint=$1 tool
    shift
    for tool in "$@"; do
        command -v "$tool" >/dev/null || skip "$tool is not installed ($hint)"
    done
}

# Ends a script that cannot run here. Exit code 0: the gate goes on, and its log says what it did not see.
skip() {
    printf '%s: SKIPPED, nothing was checked: %s\n' "$script" "$1"
    exit 0
}

# usage: install_package COMMAND PACKAGE: installs a Debian package when COMMAND is missing.
install_package() {
    command -v "$1" >/dev/null && return
    local as_root=()
    ((EUID == 0)) || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

# usage: need_binaries NAME…: sets BINARIES, unless it is set already, to a directory with these programs, built for
# release.
need_binaries() {
    [[ -z ${BINARIES:-} ]] || return 0
    (cd "$root" && cargo build --release --quiet --locked --workspace "${@/#/--bin=}")
    BINARIES=$(release_directory)
}

# usage: commit_of_binaries NAME…: prints the commit of the sources that these programs in $BINARIES were built from,
# with a + where they had changes that are not committed. Ends the script if a source is newer than its program: what
# is measured would not be what the tree says. Cargo lists the sources in a file beside each program.
commit_of_binaries() {
    local program depends directory source sources commits=()
    for program in "${@/#/$BINARIES/}"; do
        depends=$program.d
        if [[ ! -e $depends ]]; then
            commits+=("not known, as $depends is missing")
            continue
        fi
        read -ra sources < <(sed 's/^[^:]*: //' "$depends")
        for source in "${sources[@]}"; do
            [[ -e $source ]] || die 1 "$program was built from $source, which is gone: build it again"
            [[ ! $source -nt $program ]] || die 1 "$program is older than $source: build it again"
        done
        directory=$(dirname "${sources[0]}")
        commits+=("$(git -C "$directory" rev-parse HEAD)$(
            git -C "$directory" diff --quiet HEAD -- . || printf '+')")
    done
    printf '%s\n' "${commits[@]}" | sort -u
}

# usage: release_directory: prints where cargo puts what it builds for release.
release_directory() {
    printf '%s\n' "${CARGO_TARGET_DIR:-$root/target}/release"
}
