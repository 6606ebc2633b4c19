#!/usr/bin/env bash
# Builds the C++ program that benchmark_json_parser --simdjson compares with.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: simdjson.sh [--no-install] OUTPUT

Builds bench/simdjson/on_demand.cc as OUTPUT, for this machine's processor, with Debian's libsimdjson-dev, which it
installs together with a C++ compiler where they are missing. Then:

  benchmark_json_parser --simdjson OUTPUT

Exit code: 0 built, 2 wrong use, 3 libsimdjson-dev or a C++ compiler cannot be had.
HELP
}

help_option "$@"
install=1
if [[ ${1:-} == --no-install ]]; then
    install=0
    shift
fi
[[ $# == 1 && $1 != -* ]] || wrong_use

has_header() {
    echo '#include <simdjson.h>' | c++ -std=c++17 -fsyntax-only -x c++ - 2>/dev/null
}

if ((install)) && ! has_header; then
    install_package c++ g++ || true
    install_package /usr/include/simdjson.h libsimdjson-dev || true
fi
has_header || die 3 'SKIPPED: there is no C++ compiler with simdjson.h (Debian: g++, libsimdjson-dev)'
c++ -std=c++17 -O3 -DNDEBUG -march=native -o "$1" "$root/bench/simdjson/on_demand.cc" -lsimdjson
