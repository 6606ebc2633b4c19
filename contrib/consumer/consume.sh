#!/bin/sh
# Appends each line of a server's log to a file, exactly once: over rotations and restarts of the server, and kills of
# this script. It needs curl.
#
#   consume.sh URL FILE      for example: consume.sh http://127.0.0.1:8080 lines.jsonl
#
# FILE.position holds the position that is reached and the size of FILE there; it is replaced as a whole. What was
# appended after it was written, by a run that was killed, is cut off at the next start and read again.
# Exit codes: 1 if the server has deleted lines that were not read yet, 2 if it refuses the request.
set -eu
case ${1:-} in '' | -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit ;; esac
url=$1 file=$2
position=begin size=0
if [ -s "$file.position" ]; then read -r position size <"$file.position"; fi
# A run that was killed may have left curl behind, which writes to files of its own.
rm -f "$file".[0-9]*.head "$file".[0-9]*.part
: >>"$file"
truncate -s "$size" "$file"
while :; do
    # With wait, a response comes at once when there are lines, or else after 30 s.
    status=$(curl --silent --show-error --compressed --get --data-urlencode "from=$position" --data wait=30s \
        --dump-header "$file.$$.head" --output "$file.$$.part" --write-out '%{http_code}' "$url/log") || status=0
    case $status in
    200) ;;
    410) echo "$position is no longer in the log: $(cat "$file.$$.part")" >&2 && exit 1 ;;
    4??) [ "$status" = 429 ] || { cat "$file.$$.part" >&2 && exit 2; } ;;
    esac
    if [ "$status" != 200 ]; then
        sleep 1
        continue
    fi
    cat "$file.$$.part" >>"$file"
    position=$(tr -d '\r' <"$file.$$.head" | sed -n 's/^[Xx]-[Mm]etrics[Ss]tream-[Nn]ext: //p')
    echo "$position $(wc -c <"$file")" >"$file.position.new"
    mv "$file.position.new" "$file.position"
done
