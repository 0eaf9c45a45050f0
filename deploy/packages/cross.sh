#!/usr/bin/env bash
# The agent for arm64, static, made on an amd64 machine with Debian and without rustup. For packages of it:
#
#     deploy/packages/cross.sh [--release] DIRECTORY
#     MAINTAINER='Name <address>' deploy/packages/build.sh --arch arm64 --only agent [--format tar] DIRECTORY OUT
#
# DIRECTORY gets foreshadow-agent, build/ and toolchain/ (1.2 GB, kept). A compiler knows only the standard library that was built with it,
# so both are Debian's: rustc-web, which it keeps as new as its browsers need. With the C compiler and library for arm64 they are fetched by
# apt, with lists of its own, and unpacked below DIRECTORY; nothing is installed. qemu comes along, which runs arm64 here:
#
#     DIRECTORY/toolchain/usr/bin/qemu-aarch64-static DIRECTORY/foreshadow-agent --once
#
# Ends with 69 where Debian has no compiler that is new enough.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { # CODE WORDS
    echo "cross.sh: ${*:2}" >&2
    exit "$1"
}

options=()
if [[ ${1:-} == --release ]]; then
    options=(--release)
    shift
fi
[[ $# == 1 && $1 != -* ]] || fail 64 'DIRECTORY is needed'
[[ $(uname -m) == x86_64 ]] || fail 64 'for amd64 machines; on arm64 nothing needs to be crossed'
for tool in cargo apt-get dpkg; do command -v "$tool" >/dev/null || fail 69 "$tool is missing"; done
mkdir -p "$1"
directory=$(cd "$1" && pwd)
toolchain=$directory/toolchain
least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

candidate() { apt-cache policy "$1" | sed -n 's/^ *Candidate: *\([^(].*\)/\1/p'; }
# The package behind another, by a pattern of its name.
needed() { apt-cache depends "$1" | sed -n "s/^ *|\?Depends: \($2\)\$/\1/p" | head -n 1; }

fetch() {
    local apt=$directory/apt compiler standard llvm gcc
    rm -rf -- "$toolchain" "$apt"
    mkdir -p "$toolchain" "$apt"/{lists/partial,cache/archives/partial,packages}
    printf '%s\n' 'APT::Architecture "amd64";' 'APT::Architectures { "amd64"; "arm64"; };' 'APT::Sandbox::User "root";' \
        "Dir::State::lists \"$apt/lists\";" "Dir::Cache \"$apt/cache\";" >"$apt/apt.conf"
    export APT_CONFIG=$apt/apt.conf
    apt-get -qq update || fail 69 'apt-get update failed'
    compiler=$(candidate rustc-web)
    [[ -n $compiler ]] || fail 69 'this Debian has no rustc-web'
    dpkg --compare-versions "$compiler" ge "$least" || fail 69 "rustc-web is $compiler, and $least is needed"
    standard=$(needed libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')
    llvm=$(needed "$standard" 'libllvm[0-9]*')
    gcc=$(needed gcc-aarch64-linux-gnu 'gcc-[0-9]*-aarch64-linux-gnu')
    [[ -n $standard && -n $llvm && -n $gcc ]] || fail 69 'this Debian names what the compilers need otherwise'
    (
        cd "$apt/packages"
        apt-get -qq download rustc-web libstd-rust-web-dev "$standard" "$llvm" libstd-rust-web-dev:arm64 binutils-aarch64-linux-gnu \
            "$gcc" "${gcc/gcc/cpp}" gcc-aarch64-linux-gnu "lib${gcc%-aarch64*}-dev-arm64-cross" libgcc-s1-arm64-cross libc6-arm64-cross \
            libc6-dev-arm64-cross linux-libc-dev-arm64-cross qemu-user-static
    ) || fail 69 'apt-get download failed'
    local package
    for package in "$apt"/packages/*.deb; do dpkg -x "$package" "$toolchain"; done
    rm -rf -- "$apt"
    touch "$toolchain/complete"
}

[[ -e $toolchain/complete ]] || fetch
bin=$toolchain/usr/bin
# The compiler and the assembler look for their libraries where they would have been installed.
export LD_LIBRARY_PATH=$toolchain/usr/lib/x86_64-linux-gnu RUSTC=$bin/rustc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$bin/aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=$bin/aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=$bin/aarch64-linux-gnu-ar
TARGET=aarch64-unknown-linux-gnu CC=$bin/aarch64-linux-gnu-gcc STRIP=$bin/aarch64-linux-gnu-strip \
    deploy/packages/static.sh "${options[@]}" "$directory"
