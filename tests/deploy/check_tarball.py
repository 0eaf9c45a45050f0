"""The static agent where nothing else is: its tarball in a root without a C library, by its INSTALL, and as user data; and its image.

All of it on a copy of this system with a loopback of its own, where an aggregator listens at aggregator.test.
"""

import json
import os
import shutil
import tarfile
import tempfile
import unittest
from pathlib import Path

from check_packages import build
from product import DEPLOY, REPOSITORY, Check, binary, on_a_copy, version

# As static.sh makes it, without optimisation: by tests/run.
STATIC = REPOSITORY / "target/static/foreshadow-agent"
made = {}


def setUpModule():
    if not STATIC.exists():
        raise AssertionError(f"{STATIC} is not built: bash tests/run builds it")
    directory = Path(tempfile.mkdtemp(prefix="foreshadow-deploy."))
    unittest.addModuleCleanup(shutil.rmtree, directory, ignore_errors=True)
    binaries, out = directory / "binaries", directory / "out"
    binaries.mkdir()
    shutil.copy(STATIC, binaries)
    built = build(binaries, out, "--format", "tar")
    assert built.returncode == 0, built.stderr
    made.update(binaries=binaries, out=out, archive=out / f"foreshadow-agent-{version()}-{os.uname().machine}-linux.tar.gz")


AGGREGATOR = f"""
ip link set lo up
mkdir /tmp/release /tmp/work
tar -xzf /mnt/foreshadow-agent-*-linux.tar.gz --strip-components=1 -C /tmp/release
cd /tmp/work
ln -s {binary("foreshadow")} /usr/local/bin/foreshadow
trap 'kill $(jobs -p) $(cat /run/agent.pid 2>/dev/null) 2>/dev/null || true' EXIT
started() {{ # CURL WORDS: until it answers
    for _ in $(seq 300); do curl -fsS "$@" >/dev/null 2>&1 && return; sleep 0.1; done
    cat aggregator.log; return 1
}}
"""
# Beside names of every kind: those that /etc/hosts has, and those that a server of names has.
NAMES = r"""
cat >names.py <<'NAMES'
import socket
# Answers whatever is asked for A with 127.0.0.1, and says that there is nothing else (RFC 1035, 4.1).
served = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
served.bind(("127.0.0.1", 53))
open("bound", "w").close()
while True:
    asked, peer = served.recvfrom(512)
    end = asked.index(0, 12) + 5
    found = asked[end - 4 : end - 2] == b"\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if found else b""
    served.sendto(asked[:2] + b"\x84\0\0\1" + (b"\0\1" if found else b"\0\0") + b"\0" * 4 + asked[12:end] + answer, peer)
NAMES
"""
EMPTY = r"""
root=/tmp/empty
mkdir -p $root/proc $root/dev $root/etc
mv /tmp/release/foreshadow-agent $root/
mount --bind /proc $root/proc
for device in random urandom; do
    touch $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done
[ "$(find $root -xdev -type f | grep -vc /dev/)" = 1 ]
agent() { chroot --userspec=65532:65532 $root /foreshadow-agent "$@"; }
names=(--aggregator http://aggregator.test:7070 --insecure --group web)
streams() { # INSTANCE: what it stored is acknowledged, and it found its way at once
    # The agent's own process, and not a shell's, is what is told to end.
    chroot --userspec=65532:65532 $root /foreshadow-agent "${names[@]}" --instance-id "$1" 2>"$1.log" &
    local agent=$!
    for _ in $(seq 300); do
        [ "$(curl -fsS "http://127.0.0.1:7070/shadow/metrics?instance=$1&from=-6h" 2>/dev/null | wc -l)" -ge 2 ] && break
        sleep 0.1
    done
    kill $agent
    wait $agent && grep -q 'agent ends unacknowledged=0' "$1.log" && ! grep -E 'ERROR|cannot be reached' "$1.log" && return
    cat "$1.log" aggregator.log; return 1
}
"""
# In the place of systemd, which does not run there: it enables what [Install] says, and starts what ExecStart says with the
# unit's credential and state, as a user of its own; without the sandbox, which check_packages has systemd judge.
SYSTEMD = r"""
mv /usr/bin/systemctl /usr/bin/systemctl.real
: >/tmp/told
cat >/usr/bin/systemctl <<'STUB'
#!/bin/bash
echo "$*" >>/tmp/told
words=() unit=/etc/systemd/system/foreshadow-agent.service pid=/run/agent.pid
for word; do [[ $word == -* ]] || words+=("$word"); done
alive() { [[ -e $pid ]] && kill -0 "$(cat $pid)" 2>/dev/null; }
key() { sed -n "s/^$1=//p" $unit; }
start() {
    alive && return
    local credential state=/var/lib/private/foreshadow-agent run=/run/credentials/foreshadow-agent.service
    IFS=: read -r name credential <<<"$(key LoadCredential)"
    install -d -m 755 -o 65532 $run /var/lib/private
    install -d -m 700 -o 65532 -g 65532 $state
    ln -sfn private/foreshadow-agent "/var/lib/$(key StateDirectory)"
    install -m 400 -o 65532 "$credential" "$run/$name" || exit 1
    # shellcheck disable=SC2046 # words
    STATE_DIRECTORY=$state setpriv --reuid=65532 --regid=65532 --clear-groups $(key ExecStart) >>/var/log/foreshadow-agent 2>&1 </dev/null &
    echo $! >$pid
}
stop() { ! alive || { kill "$(cat $pid)" && tail --pid="$(cat $pid)" -f /dev/null; }; rm -f $pid; }
case ${words[0]:-} in
'' | is-enabled) exec systemctl.real --root=/ "$@" ;;
daemon-reload) ;;
enable) systemctl.real --root=/ enable "${words[1]}" 2>/dev/null && if [[ " $* " == *' --now '* ]]; then start; fi ;;
is-active) alive ;;
restart) stop; start ;;
*) echo "systemctl $*: not in this world" >&2; exit 64 ;;
esac
STUB
chmod +x /usr/bin/systemctl
"""
SECURED = r"""
request() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "$@" 2>/dev/null; }
request -subj /CN=authority -keyout ca.key -out ca.pem
request -subj /CN=aggregator.test -addext subjectAltName=DNS:aggregator.test -addext basicConstraints=critical,CA:FALSE \
    -CA ca.pem -CAkey ca.key -keyout key.pem -out certificate.pem
(umask 077; foreshadow token --name ops --role admin >ops.token 2>entry; sed -n '/^\[token/,$p' entry >tokens.toml)
chmod 600 key.pem
cat >foreshadow.toml <<'SETTINGS'
[listen]
address = "127.0.0.1:7070"
certificate = "/tmp/work/certificate.pem"
key = "/tmp/work/key.pem"
[identity]
tokens = "/tmp/work/tokens.toml"
[store]
directory = "/tmp/work/data"
SETTINGS
echo '127.0.0.1 aggregator.test' >>/etc/hosts
foreshadow serve --config foreshadow.toml >aggregator.log 2>&1 &
export FORESHADOW_URL=https://aggregator.test:7070 FORESHADOW_CA=$PWD/ca.pem FORESHADOW_TOKEN_FILE=$PWD/ops.token
started --cacert ca.pem $FORESHADOW_URL/healthz
(umask 077; foreshadow tokens join --name web --uses 9 >join.token)
heard() { # INSTANCE MOMENT: samples of it are stored, from that second since 1970 on
    for _ in $(seq 300); do
        [ "$(curl -fsS --cacert ca.pem -H "Authorization: Bearer $(cat ops.token)" \
            "$FORESHADOW_URL/shadow/metrics?instance=$1&from=$2" 2>/dev/null | wc -l)" -ge 2 ] && return
        sleep 0.1
    done
    echo 'no samples'; cat /var/log/foreshadow-agent aggregator.log; return 1
}
"""


class Tarball(Check):
    def on_a_host(self, commands: str) -> str:
        ended = on_a_copy(self.directory(), made["out"], AGGREGATOR + commands, "--net", timeout=180)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout + ended.stderr

    def test_it_is_of_a_static_program_and_the_same_bytes_again(self):
        with tarfile.open(made["archive"]) as opened:
            names = {Path(name).name for name in opened.getnames()}
            self.assertTrue(all(member.uid == 0 for member in opened))
        wanted = {"foreshadow-agent", "foreshadow-agent.service", "agent.toml", "INSTALL", "LICENSE", "THIRD-PARTY-NOTICES.gz"}
        self.assertLessEqual(wanted, names)
        self.run_tool("sha256sum", "--check", "--status", "SHA256SUMS", cwd=made["out"])
        again = self.directory()
        self.assertEqual(build(made["binaries"], again, "--format", "tar").returncode, 0)
        self.assertEqual((again / made["archive"].name).read_bytes(), made["archive"].read_bytes())
        dynamic = self.directory()
        (dynamic / "foreshadow-agent").symlink_to(binary("foreshadow-agent"))
        refused = build(dynamic, self.directory(), "--format", "tar")
        self.assertEqual(refused.returncode, 64)
        self.assertIn("linked dynamically", refused.stderr)

    def test_it_samples_and_streams_by_name_from_a_root_that_holds_nothing_else(self):
        self.on_a_host(f"""
            foreshadow serve --listen 127.0.0.1:7070 --directory data >aggregator.log 2>&1 &
            started http://127.0.0.1:7070/healthz
            {NAMES}{EMPTY}
            [ "$(agent --version)" = 'foreshadow-agent {version()}' ]
            agent --once | jq -e '.memory_total_bytes > 0 and .cpu_percent != null' >/dev/null

            # A name that nothing knows, and the agent says so.
            timeout 2 chroot --userspec=65532:65532 $root /foreshadow-agent "${{names[@]}}" --instance-id i-nobody 2>nobody.log || true
            grep -q 'cannot be reached.*lookup address' nobody.log || {{ cat nobody.log; exit 1; }}
            # By /etc/hosts, with nothing said and as Debian says it.
            echo '127.0.0.1 aggregator.test' >$root/etc/hosts
            streams i-hosts
            echo 'hosts: files dns' >$root/etc/nsswitch.conf
            streams i-files
            # By a server of names.
            rm $root/etc/hosts $root/etc/nsswitch.conf
            echo 'nameserver 127.0.0.1' >$root/etc/resolv.conf
            python3 names.py &
            until [ -e bound ]; do sleep 0.1; done
            streams i-server
            echo 'hosts: files dns' >$root/etc/nsswitch.conf
            streams i-dns
            # A source that is a library, which would end whoever loads it as one of another glibc does: the next one is asked.
            echo 'void ends(void) {{ __builtin_trap(); }}' >ends.c
            for directory in lib/$(uname -m)-linux-gnu usr/lib/$(uname -m)-linux-gnu lib64 usr/lib64 lib usr/lib; do
                mkdir -p "$root/$directory"
                cc -shared -fPIC -nostdlib -Wl,-init,ends -o "$root/$directory/libnss_ending.so.2" ends.c
            done
            echo 'hosts: files ending [!UNAVAIL=return] dns' >$root/etc/nsswitch.conf
            streams i-other
        """)  # fmt: skip

    def test_its_image_streams_with_nothing_writable_but_its_directory(self):
        layout, bundle = self.directory() / "layout", made["out"] / "bundle"
        self.run_tool(DEPLOY / "image/build.sh", made["binaries"] / "foreshadow-agent", layout, timeout=180)
        config = json.loads(self.run_tool("skopeo", "inspect", "--config", f"oci:{layout}:{version()}"))["config"]
        self.run_tool("umoci", "unpack", "--image", f"{layout}:{version()}", bundle)
        self.assertFalse([*bundle.rglob("*.so*")], "a static program brings no library")
        settings = f"""
            aggregator = "https://aggregator.test:7070"
            instance_id = "i-1"
            ca = "/etc/foreshadow/ca.pem"
            join_token_file = "/etc/foreshadow/join.token"
            identity = "{config["WorkingDir"]}/identity"
            spool = "{config["WorkingDir"]}/spool"
        """
        self.on_a_host(f"""
            {SECURED}
            # What a runtime brings: /proc, devices, names, and a volume; the rest can only be read.
            cp -a /mnt/bundle/rootfs /tmp/image
            cd /tmp/image
            mkdir proc dev
            cp /etc/hosts etc/
            printf '%s' '{settings}' >etc/foreshadow/agent.toml
            install -m 444 /tmp/work/ca.pem /tmp/work/join.token etc/foreshadow/
            touch dev/random dev/urandom
            mount --bind . .
            cd /tmp/image
            mount -o remount,bind,ro .
            mount --bind /proc proc
            for device in random urandom; do mount --bind /dev/$device dev/$device; done
            mount -t tmpfs -o uid=65532,gid=65532,mode=700 tmpfs .{config["WorkingDir"]}
            cd /tmp/work
            if touch /tmp/image/etc/x 2>/dev/null; then echo 'it can be written'; exit 1; fi
            chroot --userspec={config["User"]} /tmp/image {" ".join(config["Entrypoint"] + config["Cmd"])} >/var/log/foreshadow-agent 2>&1 &
            heard i-1 "$(date +%s)"
            if grep -E 'ERROR|WARN' /var/log/foreshadow-agent; then exit 1; fi
            ls /tmp/image{config["WorkingDir"]}/identity | grep -q .
        """)  # fmt: skip

    def test_its_install_text_installs_it(self):
        text = (DEPLOY / "packages/INSTALL").read_text()
        steps = [line.strip() for line in text.splitlines() if line.startswith("    ")]
        by_hand = [place for place, step in enumerate(steps) if step.startswith("# ")]
        self.assertEqual(len(by_hand), 1, "what the reader does, at one place")
        before, after = "\n".join(steps[: by_hand[0]]), "\n".join(steps[by_hand[0] + 1 :])
        without = text[text.index("Without systemd: ") :].removeprefix("Without systemd: ").split(", as any user")[0]
        self.on_a_host(f"""
            {SECURED}{SYSTEMD}
            cd /tmp/release
            {before}
            sed -i 's|^aggregator = .*|aggregator = "https://aggregator.test:7070"|; s|^probe = .*|probe = "none"|' /etc/foreshadow/agent.toml
            echo 'instance_id = "i-1"' >>/etc/foreshadow/agent.toml
            cp /tmp/work/ca.pem /etc/foreshadow/
            install -m 600 /tmp/work/join.token /etc/foreshadow/agent.token
            {after}
            cd /tmp/work
            heard i-1 "$(date +%s)"
            [ "$(systemctl is-enabled foreshadow-agent)" = enabled ]
            systemd-analyze verify /etc/systemd/system/foreshadow-agent.service
            # Again, and what the reader wrote is there, and the agent runs on.
            was=$(cat /run/agent.pid)
            cd /tmp/release
            {before}
            {after}
            cd /tmp/work
            grep -q aggregator.test /etc/foreshadow/agent.toml
            [ "$(cat /run/agent.pid)" = "$was" ] && kill -0 "$was"

            # Without systemd.
            systemctl.real --root=/ disable foreshadow-agent 2>/dev/null
            kill "$was"
            tail --pid="$was" -f /dev/null
            rm -r /run/credentials
            install -m 644 join.token /tmp/joins
            install -d -o 65532 -m 700 /tmp/identity /tmp/spool
            set -- {without.replace("DIRECTORY", "/tmp/identity", 1).replace("DIRECTORY", "/tmp/spool", 1).replace("FILE", "/tmp/joins")}
            FORESHADOW_AGENT_INSTANCE_ID=i-2 setpriv --reuid=65532 --regid=65532 --clear-groups "$@" >/var/log/foreshadow-agent 2>&1 &
            heard i-2 "$(date +%s)"
        """)  # fmt: skip

    def test_as_user_data_it_installs_once_and_refuses_what_has_another_sum(self):
        self.on_a_host(f"""
            {SECURED}{SYSTEMD}
            mkdir /etc/foreshadow
            sum() {{ sha256sum "/tmp/release/$1" | cut -d' ' -f1; }}
            settings() {{ # SUM OF THE AGENT
                cat >/etc/foreshadow/user-data.env <<SETTINGS
RELEASE_URL=file:///tmp/release
AGENT_SHA256=$1
UNIT_SHA256=$(sum foreshadow-agent.service)
AGGREGATOR=$FORESHADOW_URL
CA_FILE=/tmp/work/ca.pem
TOKEN_FILE=/tmp/work/join.token
SETTINGS
            }}
            lies() {{ find /etc /usr/local /var/lib -xdev ! -type d -printf '%p %m %i %T@\\n' | sort; }}
            refused() {{
                if bash /tmp/release/foreshadow-agent.sh 2>said; then echo 'installed all the same'; exit 1; fi
                grep -q 'not installed: .*foreshadow-agent: the sum is' said || {{ cat said; exit 1; }}
                [ -z "$(find /usr/local -name 'foreshadow-agent.*')" ]
            }}
            # A release that was changed on the way, on a host without the agent: nothing is there, nothing was told to systemd.
            settings "$(printf 0%.0s $(seq 64))"
            lies >before
            refused
            lies | diff before -
            if grep -v -- --version /tmp/told; then echo 'told to systemd'; exit 1; fi

            settings "$(sum foreshadow-agent)"
            bash /tmp/release/foreshadow-agent.sh 2>said || {{ cat said; exit 1; }}
            grep -q 'foreshadow-agent: runs$' said
            heard "$(uname -n)" "$(date +%s)"
            stat -c '%a %n' /usr/local/bin/foreshadow-agent /etc/foreshadow/{{agent.token,ca.pem,agent.toml}} | diff - <(
                printf '%s /%s\\n' 755 usr/local/bin/foreshadow-agent 600 etc/foreshadow/agent.token 644 etc/foreshadow/ca.pem \\
                    644 etc/foreshadow/agent.toml)
            [ "$(systemctl is-enabled foreshadow-agent)" = enabled ]

            # At the next start: nothing is written, and nothing restarted.
            was=$(cat /run/agent.pid)
            lies | grep -v /var/lib/ >before
            bash /tmp/release/foreshadow-agent.sh 2>said || {{ cat said; exit 1; }}
            grep -q 'runs already, nothing changed' said || {{ cat said; exit 1; }}
            lies | grep -v /var/lib/ | diff before -
            [ "$(cat /run/agent.pid)" = "$was" ] && kill -0 "$was"

            # Without any token: the document that AWS signs takes its place, and not beside one.
            cp -p /etc/foreshadow/user-data.env with-token.env
            echo INSTANCE_DOCUMENT=yes >>/etc/foreshadow/user-data.env
            if bash /tmp/release/foreshadow-agent.sh 2>said; then echo 'taken beside a token'; exit 1; fi
            grep -q 'not installed: a token beside INSTANCE_DOCUMENT' said || {{ cat said; exit 1; }}
            lies | grep -v /var/lib/ | grep -v user-data.env >now
            grep -v user-data.env before | diff now -
            cp -p with-token.env /etc/foreshadow/user-data.env

            # A changed release where one runs: it runs on, as it is.
            printf x >>/tmp/release/foreshadow-agent
            refused
            lies | grep -v /var/lib/ | diff before -
            [ "$(cat /run/agent.pid)" = "$was" ]
            heard "$(uname -n)" "$(date +%s)"
        """)  # fmt: skip

    def test_as_user_data_it_does_without_a_token_where_aws_signs_who_it_is(self):
        self.on_a_host(f"""
            {SECURED}{SYSTEMD}
            mkdir /etc/foreshadow
            cat >/etc/foreshadow/user-data.env <<SETTINGS
RELEASE_URL=file:///tmp/release
AGENT_SHA256=$(sha256sum /tmp/release/foreshadow-agent | cut -d' ' -f1)
UNIT_SHA256=$(sha256sum /tmp/release/foreshadow-agent.service | cut -d' ' -f1)
AGGREGATOR=$FORESHADOW_URL
CA_FILE=/tmp/work/ca.pem
INSTANCE_DOCUMENT=yes
SETTINGS
            bash /tmp/release/foreshadow-agent.sh 2>said || {{ cat said; exit 1; }}
            grep -qx 'instance_document = true' /etc/foreshadow/agent.toml
            if grep token /etc/foreshadow/agent.toml; then echo 'a token all the same'; exit 1; fi
            # What the unit asks for is there, and empty.
            [ -f /etc/foreshadow/agent.token ] && [ ! -s /etc/foreshadow/agent.token ]
            # This is no EC2: it says what it lacks, and is refused by nobody.
            for _ in $(seq 600); do grep -q "no signed instance identity document" /var/log/foreshadow-agent && exit; sleep 0.1; done
            cat /var/log/foreshadow-agent; exit 1
        """)  # fmt: skip
