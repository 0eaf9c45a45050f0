#!/bin/bash
# User data (cloud-init): installs the Foreshadow agent on an instance that starts, or brings it up to date.
#
# May run again at any time. Everything is fetched and checked in a directory of its own before anything is changed;
# any failure is logged, ends with 1, and touches no other service. The instance starts in any case.
#
# No secret belongs into this file: whoever is on the instance can read its user data.

set -Eeuo pipefail

# ---- To be set ----------------------------------------------------------------------------------------------------

# Where this release lies: foreshadow-agent (the binary) and foreshadow-agent.service (deploy/systemd). https, or file
# for an image that brings them along. sha256sum prints the two sums.
RELEASE_URL=''
AGENT_SHA256=''
UNIT_SHA256=''

# https://HOST:PORT of the aggregator.
AGGREGATOR=''
# The authority that signed the aggregator's certificate: PEM text here, or the path of a file on the image.
CA_PEM=''
CA_FILE=''

# The token (a join token, or one of the role agent): the name of an SSM parameter of type SecureString, which the instance's role may read
# (ssm:GetParameter; kms:Decrypt where the key is your own), or the path of a file that only root can read.
TOKEN_PARAMETER=''
TOKEN_FILE=''
# Region of the parameter; empty: what the AWS command finds out.
TOKEN_REGION=''
# Or yes, and no token at all: the instance gets its certificate by the identity document that AWS signs. The aggregator needs [identity.aws].
INSTANCE_DOCUMENT=''

# none, http://HOST/PATH, tcp:ADDRESS:PORT, file:PATH or exec:COMMAND. The last two run in the unit's sandbox.
PROBE='none'
# Only where no inventory knows the instance; such a group is observed and never acted on.
GROUP=''

# Or a launch template brings them in a file (deploy/aws/foreshadow.yaml).
if [[ -f /etc/foreshadow/user-data.env ]]; then
    # shellcheck source=/dev/null
    . /etc/foreshadow/user-data.env
fi

# -------------------------------------------------------------------------------------------------------------------

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 077
BINARY=/usr/local/bin/foreshadow-agent
SETTINGS=/etc/foreshadow
UNIT=/etc/systemd/system/foreshadow-agent.service
# LoadCredential, ProtectProc and ProcSubset came with this version.
OLDEST_SYSTEMD=247

log() {
    printf 'foreshadow-agent: %s\n' "$*" >&2
    # cloud-init keeps what is printed; the journal has it too.
    logger -t foreshadow-user-data -- "$*" 2>/dev/null || true
}

die() {
    log "not installed: $*"
    exit 1
}

trap 'die "line $LINENO failed"' ERR

fetch() { # FILE SHA256
    curl --fail --silent --show-error --location --proto '=https,file' --retry 5 --retry-delay 2 \
        --connect-timeout 10 --max-time 300 --output "$work/$1" "$RELEASE_URL/$1" || die "$RELEASE_URL/$1: no answer"
    local sum
    sum=$(sha256sum "$work/$1")
    [[ ${sum%% *} == "${2,,}" ]] || die "$RELEASE_URL/$1: the sum is ${sum%% *}, and not ${2:-given}"
}

# Puts a file in place in one step; says whether anything changed.
put() { # FROM TO MODE
    if [[ -f $2 ]] && cmp --silent "$1" "$2" && [[ $(stat --format=%a "$2") == "$3" ]]; then
        return
    fi
    install --mode="$3" "$1" "$2.new"
    mv --force "$2.new" "$2"
    changed=yes
}

write_token() {
    if [[ $INSTANCE_DOCUMENT == yes ]]; then
        # The unit wants a file to be there; nothing reads it.
        : >"$work/token"
        return
    fi
    # Straight into the file: the token is in no variable, no argument and no log.
    if [[ -n $TOKEN_PARAMETER ]]; then
        command -v aws >/dev/null || die 'TOKEN_PARAMETER needs the AWS command line (package awscli)'
        aws ${TOKEN_REGION:+--region "$TOKEN_REGION"} ssm get-parameter --name "$TOKEN_PARAMETER" --with-decryption \
            --query Parameter.Value --output text >"$work/token" || die "$TOKEN_PARAMETER cannot be read"
    elif [[ -n $TOKEN_FILE ]]; then
        cat "$TOKEN_FILE" >"$work/token" || die "$TOKEN_FILE cannot be read"
    else
        die 'set TOKEN_PARAMETER, TOKEN_FILE or INSTANCE_DOCUMENT'
    fi
    grep --quiet '[^[:space:]]' "$work/token" || die 'the token is empty'
}

write_ca() {
    if [[ -n $CA_PEM ]]; then
        printf '%s\n' "$CA_PEM" >"$work/ca.pem"
    elif [[ -n $CA_FILE ]]; then
        cat "$CA_FILE" >"$work/ca.pem" || die "$CA_FILE cannot be read"
    else
        die 'set CA_PEM or CA_FILE'
    fi
    grep --quiet 'BEGIN CERTIFICATE' "$work/ca.pem" || die 'CA_PEM or CA_FILE holds no certificate'
}

write_settings() {
    {
        echo '# Written by user data; it writes this file anew.'
        echo "aggregator = '$AGGREGATOR'"
        echo "ca = '$SETTINGS/ca.pem'"
        # A join token says by its first letters that it is one.
        local key=token_file
        ! grep --quiet '^fj_' "$work/token" || key=join_token_file
        if [[ $INSTANCE_DOCUMENT == yes ]]; then
            key=instance_document
            echo 'instance_document = true'
        else
            echo "$key = '/run/credentials/foreshadow-agent.service/token'"
        fi
        # systemd's default; named for the check below, which systemd does not start.
        [[ $key == token_file ]] || echo "identity = '/var/lib/foreshadow-agent/identity'"
        echo "probe = '$PROBE'"
        [[ -z $GROUP ]] || echo "group = '$GROUP'"
    } >"$work/agent.toml"
}

[[ $EUID == 0 ]] || die 'must run as root'
[[ $AGGREGATOR == https://* ]] || die 'AGGREGATOR must be https://HOST:PORT'
for name in RELEASE_URL AGENT_SHA256 UNIT_SHA256; do
    [[ -n ${!name} ]] || die "set $name"
done
[[ -z $INSTANCE_DOCUMENT || $INSTANCE_DOCUMENT == yes ]] || die 'INSTANCE_DOCUMENT is yes or nothing'
[[ -z $INSTANCE_DOCUMENT || -z $TOKEN_PARAMETER$TOKEN_FILE ]] || die 'a token beside INSTANCE_DOCUMENT: one of them is enough'
for name in AGGREGATOR PROBE GROUP; do
    # Each goes into agent.toml as it is, between two quotes.
    [[ ${!name} != *[\'$'\n']* ]] || die "$name: neither ' nor a line end may be in it"
done
for command in curl sha256sum cmp systemctl; do
    command -v "$command" >/dev/null || die "$command is missing"
done
version=$(systemctl --version | awk 'NR == 1 { print int($2) }')
((version >= OLDEST_SYSTEMD)) || die "systemd $version is too old: $OLDEST_SYSTEMD is needed"

# Not below /run or /tmp: programs may not be started there, and the binary is tried before it is installed.
work=$(mktemp --directory /usr/local/foreshadow-agent.XXXXXX)
trap 'rm --recursive --force -- "$work"' EXIT

log 'fetching'
fetch foreshadow-agent "$AGENT_SHA256"
fetch foreshadow-agent.service "$UNIT_SHA256"
write_token
write_ca
write_settings
chmod 700 "$work/foreshadow-agent"
"$work/foreshadow-agent" check-config "$work/agent.toml" >&2 || die 'the settings are wrong'

log 'installing'
changed=no
install --directory --mode=755 "$SETTINGS" "${BINARY%/*}"
put "$work/foreshadow-agent" "$BINARY" 755
put "$work/foreshadow-agent.service" "$UNIT" 644
put "$work/token" "$SETTINGS/agent.token" 600
put "$work/ca.pem" "$SETTINGS/ca.pem" 644
put "$work/agent.toml" "$SETTINGS/agent.toml" 644

systemctl daemon-reload
systemctl --quiet enable foreshadow-agent.service
if [[ $changed == no ]] && systemctl --quiet is-active foreshadow-agent.service; then
    log 'runs already, nothing changed'
    exit 0
fi
# Bounded, so that a start that hangs does not hold up what cloud-init does next.
timeout 60 systemctl restart foreshadow-agent.service || die 'does not start: journalctl -u foreshadow-agent'
log 'runs'
