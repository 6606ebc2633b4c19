#!/usr/bin/env bash
# The live page: its unit tests, and every view of it in a real browser over a real server under load.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: page.sh [--out DIR] [--driver NAME]... [--unit] [--pictures] [--no-install]

First node's own test runner runs scripts/page/*.test.mjs: formats, ticks, gaps, fewer points, flamegraphs. Then, for
each driver (default: io_uring and epoll), the server is started on a free port with a directory of its own, load_test
puts marked loads on it, and a headless Chromium opens every view in light, in dark and 390 pixels wide. Checked are:
  figures       the sums, tiles and tables of the page, memory by owner and the backlog of a forward against /stats and
                load_test's own totals, to the unit; the last refusals and the doctor's findings against their
                machine-readable forms; the marks of load_test's runs
  queries       a range that is dragged is the one that is requested; the commands that are shown for it, run in a
                shell, find the same
  profile       under full load it has parser, encoder, limiter, reactor and writer, and few of its stacks are cut off
  access        axe-core finds nothing in any view, a flamegraph included; charts, views and the flamegraph are used by
                the keyboard; nothing moves with reduced motion; nothing is wider than the window
  silence       no console message, no failed request, none that leaves 127.0.0.1, nothing over 150 KB
  faults        a tab that sleeps, a server that restarts (a gap is drawn), 20 tabs at once, a reader that never reads,
                a wrong key and a right one
Screenshots are written to DIR (default target/page). Takes about two minutes a driver.

  --unit        only the unit tests, which need nothing but node
  --pictures    make the pictures of the documents instead, in DIR (default docs/images), with a release build
  --no-install  skip what is not installed. Otherwise playwright-core and axe-core come from npm into
                target/page-tools, and Chromium from Debian

Exit code: 0 all holds, 1 something does not, 2 wrong use, 3 the page was not seen, as node, npm or Chromium is missing.

environment: BINARIES  a directory with metricstream and load_test, built already (default: builds them for release)
             CHROMIUM  the browser (default: chromium)
HELP
}

out='' drivers=() unit_only='' pictures='' install=1
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --unit) unit_only=1 && shift ;;
        --pictures) pictures=1 && shift ;;
        --no-install) install='' && shift ;;
        --out)
            (($# > 1)) || wrong_use
            out=$2
            shift 2
            ;;
        --driver)
            (($# > 1)) || wrong_use
            drivers+=("$2")
            shift 2
            ;;
        *) wrong_use ;;
    esac
done
((${#drivers[@]})) || drivers=(io_uring epoll)

command -v node >/dev/null || die 3 "SKIPPED: node is not installed"
(cd "$root" && node --test scripts/page/)
[[ -z $unit_only ]] || exit 0

# Versions are fixed, so that a check means the same everywhere.
tools=$root/target/page-tools
if [[ ! -d $tools/node_modules/axe-core || ! -d $tools/node_modules/playwright-core ]]; then
    [[ -n $install ]] || die 3 "SKIPPED: playwright-core and axe-core are not installed in $tools"
    command -v npm >/dev/null || die 3 "SKIPPED: npm is not installed"
    mkdir -p "$tools"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools" playwright-core@1 axe-core@4 ||
        die 3 "SKIPPED: npm cannot install playwright-core and axe-core"
fi
browser=${CHROMIUM:-chromium}
if ! command -v "$browser" >/dev/null && [[ -n $install && -z ${CHROMIUM:-} ]]; then
    install_package chromium chromium || die 3 "SKIPPED: Chromium cannot be installed"
fi
browser=$(command -v "$browser") || die 3 "SKIPPED: there is no Chromium (CHROMIUM=PATH names one)"

need_binaries metricstream load_test
if [[ -n $pictures ]]; then
    TOOLS=$tools CHROMIUM=$browser node "$root/scripts/page/pictures.mjs" "$BINARIES" "${out:-$root/docs/images}"
    exit
fi
out=${out:-$root/target/page}
mkdir -p "$out"
TOOLS=$tools CHROMIUM=$browser node "$root/scripts/page/drive.mjs" "$BINARIES" "$out" "${drivers[@]}"
