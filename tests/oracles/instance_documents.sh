#!/usr/bin/env bash
# Signed instance identity documents as EC2 makes them (BER with indefinite lengths), and wrong ones of every kind, by OpenSSL:
# (the tests look at them in January 2027, whenever they were made)
#     faketime 2026-12-01 bash tests/oracles/instance_documents.sh > aggregator/src/identity/instance_documents.json
set -euo pipefail
there=$(mktemp -d)
trap 'rm -r "$there"' EXIT
cd "$there"
document() {
    printf '{\n  "accountId" : "%s",\n  "architecture" : "x86_64",\n  "availabilityZone" : "%sa",\n  "imageId" : "ami-0abc",\n  "instanceId" : "%s",\n  "instanceType" : "m5.large",\n  "pendingTime" : "2027-01-15T07:50:00Z",\n  "privateIp" : "10.0.0.7",\n  "region" : "%s",\n  "version" : "2017-09-30"\n}' "$1" "$3" "$2" "$3"
}
for key in region:2048 other:2048 short:1024; do
    openssl req -x509 -newkey "rsa:${key#*:}" -nodes -days 3650 -subj "/C=US/O=Amazon Web Services LLC" \
        -keyout "${key%:*}.key" -out "${key%:*}.pem" 2>/dev/null
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=curve" -keyout curve.key \
    -out curve.pem 2>/dev/null
sign() { # NAME KEY OPTIONS…: signs what comes in
    openssl cms -sign -binary -nocerts -signer "$2.pem" -inkey "$2.key" -outform DER "${@:3}" | base64 -w 64 > "$1.p7"
}
document 123456789012 i-0123456789abcdef0 eu-west-1 > document.json
sign good region -stream -nodetach -md sha256 < document.json
sign definite region -nodetach -md sha256 < document.json
sign bare region -nodetach -md sha256 -noattr < document.json
sign detached region -md sha256 < document.json
sign sha1 region -nodetach -md sha1 < document.json
sign sha512 region -nodetach -md sha512 < document.json
sign forged other -stream -nodetach -md sha256 < document.json
sign curve curve -nodetach -md sha256 < document.json
sign twice region -nodetach -md sha256 -signer other.pem -inkey other.key < document.json
document 210987654321 i-0123456789abcdef0 eu-west-1 | sign account region -stream -nodetach -md sha256
document 123456789012 i-0123456789abcdef0 us-east-1 | sign region region -stream -nodetach -md sha256
printf 'no document' | sign nothing region -stream -nodetach -md sha256
# With the certificate of who forged it inside.
openssl cms -sign -binary -nodetach -signer other.pem -inkey other.key -outform DER -md sha256 < document.json | base64 -w 64 > carried.p7
for name in *.pem *.p7; do
    jq -R -s --arg name "$name" '{($name): .}' "$name"
done | jq -s add
