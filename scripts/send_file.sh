#!/usr/bin/env bash
# Posts a file of batches, one JSON document a line, to a MetricsStream server: one curl process and one connection for
# all.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: send_file.sh FILE [URL]

Posts each line of FILE as one batch to URL (default: http://127.0.0.1:8080/metrics) over one kept-alive connection,
and prints how many were accepted and how many refused, the first refusals with their responses. Exit code: 0 all
accepted, 1 some refused or without a response, 2 it could not be tried.

environment: CURL_MAX_TIME  seconds that one request may take (default 30)
HELP
}

help_option "$@"
if (($# < 1 || $# > 2)); then
    wrong_use
fi
file=$1
url=${2:-http://127.0.0.1:8080/metrics}
max_time=${CURL_MAX_TIME:-30}
command -v curl >/dev/null || die 2 "curl is not installed"
[[ -r $file ]] || die 2 "cannot read $file"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A body of its own for each line: curl takes bodies from files, byte for byte.
split --lines=1 --suffix-length=7 --numeric-suffixes=1 -- "$file" "$work/batch."
shopt -s nullglob
batches=("$work"/batch.*)
((${#batches[@]} > 0)) || die 2 "$file is empty"

# One request a batch; `next` begins the next one on the same connection.
separator=
for batch in "${batches[@]}"; do
    printf '%surl = "%s"\ndata-binary = "@%s"\nheader = "Content-Type: application/json"\n' \
        "$separator" "$url" "$batch"
    printf 'output = "%s"\nmax-time = %s\nwrite-out = "%%{http_code} %s\\n"\n' "$batch.response" "$max_time" "$batch"
    separator=$'next\n'
done >"$work/requests"

# curl's own exit code is that of its last request only: the statuses are counted instead.
curl --silent --show-error --config "$work/requests" >"$work/codes" 2>"$work/errors" || true

accepted=$(grep -c '^2' "$work/codes" || true)
refused=$((${#batches[@]} - accepted))
printf '%d batches accepted, %d refused\n' "$accepted" "$refused"
if ((refused > 0)); then
    shown=0
    while read -r code batch; do
        if [[ $code != 2* ]]; then
            response=$(head -c 300 "$batch.response" 2>/dev/null || true)
            printf '  line %d: %s %s\n' "$((10#${batch##*.}))" "$code" "$response" >&2
            shown=$((shown + 1))
            ((shown < 5)) || break
        fi
    done <"$work/codes"
    head -n 3 "$work/errors" >&2
    exit 1
fi
