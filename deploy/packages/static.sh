#!/usr/bin/env bash
# The agent as one static program, which loads nothing of its host: for build.sh --format tar, and for images.
#
#     deploy/packages/static.sh [--release] DIRECTORY
#
# DIRECTORY gets foreshadow-agent, without symbols, and build/. It finds names in /etc/hosts and by DNS, and no other way. Needs cargo and
# a C compiler with a static libc (Debian: libc6-dev). cross.sh does the same for arm64, and says by TARGET, CC and STRIP with what.
set -euo pipefail
cd "$(dirname "$0")/../.."

profile=debug options=()
if [[ ${1:-} == --release ]]; then
    # Small, since what it costs its host is mostly its own code.
    profile=agent options=(--profile agent)
    shift
fi
if [[ $# != 1 || $1 == -* ]]; then
    echo 'static.sh: DIRECTORY is needed' >&2
    exit 64
fi
mkdir -p "$1"
directory=$(cd "$1" && pwd)
target=${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
"${CC:-cc}" -c -O1 -o "$directory/static.o" deploy/packages/static.c
RUSTFLAGS='-C target-feature=+crt-static' cargo rustc --locked --quiet -p foreshadow-agent --bin foreshadow-agent --target "$target" \
    --target-dir "$directory/build" "${options[@]}" -- -C link-arg=-Wl,--wrap=__libc_dlopen_mode -C "link-arg=$directory/static.o"
"${STRIP:-strip}" -o "$directory/foreshadow-agent" "$directory/build/$target/$profile/foreshadow-agent"
echo "$directory/foreshadow-agent"
