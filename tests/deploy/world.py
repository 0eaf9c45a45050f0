"""Small worlds that the documents' commands run in: a copy of this system in namespaces of its own, with port 7070 to itself.

`bare` has nothing but the programs; `plain` an aggregator without tokens, whose group `web` is kept by the program that docs/fleets.md
prints; `secured` the same with TLS and tokens, laid out and started as deploy/systemd does it.
"""

import datetime
import json
import math
import os
import re
import shlex
from pathlib import Path

from product import REPOSITORY, TOOLS, binary

INSTANCES = ("i-1", "i-2", "i-0abc")
# What systemd would do; each of its words is a page of systemctl(1).
SYSTEMCTL = r"""#!/bin/bash
# start, stop, restart, enable, disable, status of both units, which this world has no systemd for.
word=$1; shift
[[ ${1:-} != --now ]] || shift
unit=$1 pid=/run/$1.pid
case $unit in
foreshadow) command=(/usr/local/bin/foreshadow serve --config /etc/foreshadow/foreshadow.toml) ;;
foreshadow-agent) command=(/usr/local/bin/foreshadow-agent --config /etc/foreshadow/agent.toml) ;;
*) echo "systemctl: unit $unit is not in this world" >&2; exit 5 ;;
esac
stop() { [[ ! -e $pid ]] || { kill "$(cat $pid)" 2>/dev/null && tail --pid="$(cat $pid)" -f /dev/null; rm -f $pid; }; }
start() {
    "${command[@]}" >>/var/log/$unit 2>&1 </dev/null &
    echo $! >$pid
    [[ $unit == foreshadow ]] || return 0
    for _ in $(seq 200); do curl -sk https://localhost:7070/healthz >/dev/null && return; sleep 0.1; done
    cat /var/log/foreshadow >&2; exit 1
}
case $word in
start | enable) [[ -e $pid ]] || start ;;
stop | disable) stop ;;
restart) stop; start ;;
status) kill -0 "$(cat $pid)" ;;
*) exit 64 ;;
esac
"""
# Of one unit; its options say how much of it is shown.
JOURNALCTL = """#!/bin/bash
while [[ $1 != -u ]]; do shift; done
cat "/var/log/$2"
"""
PREPARE = r"""
python3 - <<'UP'
import fcntl, socket, struct
# The loopback interface is down in a new namespace: SIOCSIFFLAGS with IFF_UP.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1))
UP
export PATH=/usr/local/bin:$TOOLS:$PATH HOME=/root
ln -sf "$PROGRAM" /usr/local/bin/foreshadow
ln -sf "$AGENT" /usr/local/bin/foreshadow-agent
mkdir -p /root/work /var/backups /etc/foreshadow
rm -rf /root/.foreshadow
cp -r /mnt/. /root/work
cd /root/work
install -m 755 machines /usr/local/bin/machines
cp machines.json /usr/local/bin/
trap 'kill $(jobs -p) $(cat /run/foreshadow.pid /run/foreshadow-agent.pid 2>/dev/null) 2>/dev/null || true; wait' EXIT
"""
PLANNED = r"""
for _ in $(seq 300); do
    $ASK/groups/web | grep -q '"generation"' && break
    sleep 0.2
done
$ASK/groups/web | grep -q '"generation"' || { echo 'no plan'; cat /var/log/foreshadow; exit 1; }
"""
PLAIN = r"""
foreshadow serve --config foreshadow.toml --directory /var/lib/foreshadow >/var/log/foreshadow 2>&1 &
for id in $INSTANCES; do foreshadow-agent --instance-id $id >/var/log/$id 2>&1 & done
ASK='curl -s http://127.0.0.1:7070'
"""
SECURED = r"""
install -m 755 systemctl journalctl /usr/local/bin/
mkdir -p /var/lib/private/foreshadow
ln -sfn private/foreshadow /var/lib/foreshadow
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
    -keyout ca.key -out /etc/foreshadow/ca.pem 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -CA /etc/foreshadow/ca.pem -CAkey ca.key -keyout /etc/foreshadow/key.pem -out /etc/foreshadow/certificate.pem 2>/dev/null
(umask 077; foreshadow token --name ops --role admin >FILE 2>entry; sed -n '/^\[token/,$p' entry >/etc/foreshadow/tokens.toml)
cp secured.toml /etc/foreshadow/foreshadow.toml
chmod 600 /etc/foreshadow/{key.pem,tokens.toml}
cp -L /usr/local/bin/foreshadow /usr/local/bin/foreshadow.new
rm /usr/local/bin/foreshadow
cp -L /usr/local/bin/foreshadow.new /usr/local/bin/foreshadow
systemctl start foreshadow
export FORESHADOW_URL=https://localhost:7070 FORESHADOW_CA=/etc/foreshadow/ca.pem FORESHADOW_TOKEN_FILE=$PWD/FILE
(umask 077; foreshadow tokens join --name web --uses 9 >/etc/foreshadow/join.token)
for id in $INSTANCES; do
    printf 'instance_id = "%s"\naggregator = "https://localhost:7070"\nca = "/etc/foreshadow/ca.pem"
join_token_file = "/etc/foreshadow/join.token"\nidentity = "/root/%s"\n' $id $id >/etc/foreshadow/agent-$id.toml
done
# The first as a unit of this machine, which is an instance as well.
mv /etc/foreshadow/agent-i-1.toml /etc/foreshadow/agent.toml
systemctl start foreshadow-agent
for file in /etc/foreshadow/agent-*.toml; do foreshadow-agent --config $file >/var/log/${file##*/} 2>&1 & done
ASK="curl -s --cacert /etc/foreshadow/ca.pem -H @header https://localhost:7070"
(umask 077; printf 'Authorization: Bearer %s\n' "$(cat FILE)" >header)
"""
INVENTORY = """
[inventory]
interval_seconds = 5

[inventory.command]
program = "/usr/local/bin/machines"
groups = ["web"]
reach = "loopback"
"""
SECURED_TOML = """
[listen]
address = "0.0.0.0:7070"
certificate = "/etc/foreshadow/certificate.pem"
key = "/etc/foreshadow/key.pem"

[identity]
tokens = "/etc/foreshadow/tokens.toml"

[store]
directory = "/var/lib/foreshadow"
"""
KINDS = {"bare": "", "plain": PLAIN + PLANNED, "secured": SECURED + PLANNED}


def furnish(directory: Path):
    """What the documents take to be there: a program for an inventory, configurations, a history, a calendar, a network."""
    fleets = (REPOSITORY / "docs/fleets.md").read_text()
    (directory / "machines").write_text(re.search(r"```python\n(.+?)```", fleets, re.DOTALL)[1])
    state = {
        "groups": {"web": {"minimum": 1, "maximum": 9, "tags": {}, "members": list(INSTANCES)}},
        "machines": {id: {"state": "running", "tags": {}} for id in INSTANCES},
        "tokens": {},
    }
    (directory / "machines.json").write_text(json.dumps(state))
    (directory / "foreshadow.toml").write_text(INVENTORY)
    (directory / "secured.toml").write_text(SECURED_TOML + INVENTORY)
    (directory / "systemctl").write_text(SYSTEMCTL)
    (directory / "journalctl").write_text(JOURNALCTL)
    begin = datetime.datetime(2026, 10, 1, tzinfo=datetime.timezone.utc)
    with (directory / "load.csv").open("w") as file:
        file.write("timestamp,value\n")
        for step in range(3 * 96):
            at = begin + datetime.timedelta(minutes=15 * step)
            load = 1000 + 600 * math.sin(2 * math.pi * (step / 96 - 0.3)) + 40 * math.sin(step * 1.7)
            file.write(f"{at:%Y-%m-%dT%H:%M:%SZ},{load:.1f}\n")
    yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    minutes = (yesterday + datetime.timedelta(minutes=minute) for minute in range(600))
    rows = (f"{at:%Y-%m-%dT%H:%M}:00Z,{40 + minute % 20},3" for minute, at in enumerate(minutes))
    (directory / "past.csv").write_text("timestamp,value,instances\n" + "\n".join(rows) + "\n")
    tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    calendar = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//y//EN", "BEGIN:VEVENT", "UID:1@example.org"]
    calendar += [f"DTSTAMP:{tomorrow:%Y%m%dT%H%M%SZ}", f"DTSTART:{tomorrow:%Y%m%dT180000Z}", "DURATION:PT2H"]
    calendar += ["SUMMARY:campaign", "END:VEVENT", "END:VCALENDAR", ""]
    (directory / "marketing.ics").write_text("\r\n".join(calendar))
    for name in ("network.onnx", "network.json"):
        (directory / name).write_bytes((REPOSITORY / "aggregator/neural/shipped" / name).read_bytes())


def of_this_year(text: str) -> str:
    """Examples name days; an event more than a year ago is refused, and documents are read for years."""
    return re.sub(r"\b2026-(03-06|11-27)T", rf"{datetime.date.today().year}-\1T", text)


def script(kind: str, documents: dict) -> str:
    """The world, and in it each document: its blocks in one shell, one after the other, each announced by its place."""
    lines = [
        f"PROGRAM={shlex.quote(os.path.realpath(binary('foreshadow')))}",
        f"AGENT={shlex.quote(os.path.realpath(binary('foreshadow-agent')))}",
        f"TOOLS={shlex.quote(str(TOOLS))} INSTANCES='{' '.join(INSTANCES)}'",
        PREPARE,
        KINDS[kind],
    ]
    for name, blocks in documents.items():
        lines.append(f"echo '@@ {name}' >&2")
        # What defines functions comes first: a runbook begins with what is needed first.
        ordered = sorted(blocks, key=lambda block: "() {" not in block.text)
        body = "\n".join(f"echo '@@ {name}:{block.line}' >&2\n{of_this_year(block.text)}" for block in ordered)
        lines.append(f"timeout 400 bash -e <<'THE DOCUMENT ENDS' || {{ echo '@@ failed' >&2; exit 1; }}\n{body}\nTHE DOCUMENT ENDS")
    return "\n".join(lines)
