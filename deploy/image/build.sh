#!/usr/bin/env bash
# An OCI image of one program, without a daemon and without a base image.
#
#     deploy/image/build.sh [--arch amd64|arm64] PROGRAM LAYOUT
#
# PROGRAM is a foreshadow or foreshadow-agent that cargo built; LAYOUT a directory that becomes an OCI image layout with the
# tag of the version. Then, for one: skopeo copy oci:LAYOUT:VERSION docker://registry.example/foreshadow:VERSION
#
# In it: the program, the authorities of this machine's ca-certificates, users, and the licences. A static program (see
# deploy/packages/static.sh) needs nothing else; of a dynamic one the libraries come along, from this machine. It runs as 65532, which
# owns /var/lib/foreshadow or /var/lib/foreshadow-agent; the rest may be read-only. Needs umoci, and root or --rootless in UMOCI_OPTIONS.
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
    echo "build.sh: $*" >&2
    exit 64
}

arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
if [[ ${1:-} == --arch ]]; then
    arch=${2:-}
    shift 2
fi
[[ $# == 2 ]] || die 'PROGRAM and LAYOUT are needed'
program=$1 layout=$2 name=${1##*/}
case $arch in
amd64) machine='Advanced Micro Devices X86-64' triple=x86_64 ;;
arm64) machine=AArch64 triple=aarch64 ;;
*) die "--arch $arch: amd64 or arm64" ;;
esac
case $name in
foreshadow) arguments=(serve --config /etc/foreshadow/foreshadow.toml) ;;
foreshadow-agent) arguments=(--config /etc/foreshadow/agent.toml) ;;
*) die "$program: neither foreshadow nor foreshadow-agent" ;;
esac
[[ -f $program ]] || die "$program is not built"
readelf --file-header "$program" | grep -q "Machine: *$machine" || die "$program is not for $arch"
command -v umoci >/dev/null || die 'umoci is missing: apt-get install umoci'
[[ ! -e $layout ]] || die "$layout is there already"
authorities=/etc/ssl/certs/ca-certificates.crt
[[ -s $authorities ]] || die "$authorities is missing: apt-get install ca-certificates"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
read -r -a options <<<"${UMOCI_OPTIONS:-}"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
umask 022
root=$work/root
mkdir -p "$root"/{etc/ssl/certs,etc/foreshadow,usr/bin,usr/share/doc/"$name",var/lib/"$name",tmp}
chmod 1777 "$root/tmp"
install -m 755 "$program" "$root/usr/bin/$name"
if readelf --program-headers --wide "$program" | grep -q INTERP; then
    [[ $(uname -m) == "$triple" ]] || die "$program is linked dynamically, and its libraries are not on this machine"
    # The loader first, by the name the program asks for; then what it would load.
    loader=$(readelf --program-headers --wide "$program" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
    install -D -m 755 "$loader" "$root$loader"
    ldd "$program" | awk '$2 == "=>" { print $3 }' | while read -r library; do
        install -D -m 644 "$library" "$root$library"
    done
fi
cp "$authorities" "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/root:/sbin/nologin\nforeshadow:x:65532:65532:foreshadow:/var/lib/%s:/sbin/nologin\n' "$name" >"$root/etc/passwd"
printf 'root:x:0:\nforeshadow:x:65532:\n' >"$root/etc/group"
cp LICENSE "$root/usr/share/doc/$name/"
python3 deploy/packages/notices.py --arch "$triple" "$name" >"$root/usr/share/doc/$name/THIRD-PARTY-NOTICES"
if [[ $EUID == 0 ]]; then chown 65532:65532 "$root/var/lib/$name"; fi
find "$root" -exec touch --no-dereference --date="@$epoch" {} +

umoci init --layout "$layout"
umoci new --image "$layout:$version"
umoci insert "${options[@]}" --image "$layout:$version" --history.created "$created" "$root" /
umoci config --image "$layout:$version" --clear config.entrypoint --clear config.cmd \
    --config.entrypoint "/usr/bin/$name" --config.user 65532:65532 --config.workingdir "/var/lib/$name" \
    --config.volume "/var/lib/$name" --config.stopsignal SIGTERM --os linux --architecture "$arch" \
    --created "$created" --history.created "$created" \
    --config.label org.opencontainers.image.title="$name" --config.label org.opencontainers.image.version="$version" \
    --config.label org.opencontainers.image.licenses=Apache-2.0
cmd=()
for argument in "${arguments[@]}"; do cmd+=(--config.cmd "$argument"); done
umoci config --image "$layout:$version" --history.created "$created" --created "$created" "${cmd[@]}"
if [[ $name == foreshadow ]]; then
    umoci config --image "$layout:$version" --history.created "$created" --created "$created" --config.exposedports 7070/tcp
fi
umoci gc --layout "$layout"
echo "oci:$layout:$version"
