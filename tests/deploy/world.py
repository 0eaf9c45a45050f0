"""Small worlds that the documents' commands run in: a copy of this system in namespaces of its own, with ports to itself.

`bare` has nothing but the programs; `named` has a configuration and a certificate for foreshadow.example as well; `plain` an aggregator
without tokens, whose group `web` is kept by the program that docs/fleets.md prints, beside a Prometheus and an InfluxDB; `past` the same
aggregator with days of that group's past; `secured` one with TLS and tokens, laid out and started as deploy/systemd does it, two of
whose machines somebody else has detached, beside one that another installation has left behind. Each is entered in a clone: the
repository itself, copied on write, with what tests/run has built.
"""

import datetime
import json
import math
import os
import re
import shlex
import shutil
from pathlib import Path

from product import REPOSITORY, TOOLS, binary

INSTANCES = ("i-1", "i-2", "i-0abc")
# Whom somebody else detaches in `secured`.
DETACHED = ("i-3", "i-4")
# Whose lease of another installation is long over.
STRANDED = "i-5"
# What stands in a document for the reader's own, and what this world has in its place.
STANDS_FOR = {
    "https://prometheus.example": "http://127.0.0.1:9090",
    "https://influx.example": "http://127.0.0.1:8086",
    "shadow release i-…": f"shadow release {DETACHED[0]}",
    "shadow adopt i-…": f"shadow adopt {DETACHED[1]}",
    # Looked for two minutes after a start.
    "foreshadow shadow stranded\n": f"until foreshadow shadow stranded | grep {STRANDED}; do sleep 1; done\n",
    "shadow take i-…": f"shadow take {STRANDED}",
    # A demo ends by itself, a network learns a little, and few agents are started: by options that the documents name as well.
    "--bin foreshadow -- demo": "--bin foreshadow -- demo --seconds 10",
    "--series 600 --epochs 10 --windows 12000": "--series 20 --epochs 1 --windows 64",
    "--agents 10000 --interval 1s --for 60s": "--agents 20 --interval 1s --for 5s",
    "1f0c5b2a9d3e4c6b": '''"$(foreshadow tokens list --json | jq -r '.[] | select(.name == "grafana") | .id')"''',
    "41:9c0f…": r'''"$(sed -En 's/.* audit entry=([0-9]+) hash="([0-9a-f]+)".*/\1:\2/p' /var/log/foreshadow | tail -n 1)"''',
    "2027-01-15T06:00:00Z": '"$(date -ud "-3 hours" +%FT%TZ)"',
    "2027-01-15T09:00:00Z": '"$(date -ud "now" +%FT%TZ)"',
}
TOOLCHAIN = {"CARGO_HOME": ".cargo", "RUSTUP_HOME": ".rustup"}
# The mark of a block that is one command and goes on until it is stopped.
STAYS = "sh stays"
# Five minutes are five minutes.
PROMISED_SECONDS = {"docs/start.md": 300}
# What a program says once it does what it is for.
AT_WORK = "listening on|first sample acknowledged"
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
    for _ in $(seq 200); do curl -sk https://localhost:7070/healthz >/dev/null && break; sleep 0.1; done
    curl -sk https://localhost:7070/healthz >/dev/null || { cat /var/log/foreshadow >&2; exit 1; }
    # Its first round is done by the time that a reader has read on.
    for _ in $(seq ${READING:-0}); do foreshadow explain web >/dev/null 2>&1 && break; sleep 0.2; done
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
# What documents build is built already, in another profile; and with a test, for then all dependencies have the same features
# (tests/run says it as well). So it is asked for that, and takes seconds.
CARGO = r"""#!/bin/bash
set -euo pipefail
word=$1 options=() program=; shift
case $word in build | run) ;; *) exec "$REAL_CARGO" "$word" "$@" ;; esac
while [[ $# -gt 0 && $1 != -- ]]; do
    [[ $1 != --bin ]] || program=$2
    [[ $1 == --release || $1 == --workspace ]] || options+=("$1")
    shift
done
"$REAL_CARGO" build --quiet --locked --workspace --test columns "${options[@]}"
[[ $word == build ]] || exec "target/debug/$program" "${@:2}"
"""
PREPARE = r"""
python3 - <<'UP'
import fcntl, socket, struct
# The loopback interface is down in a new namespace: SIOCSIFFLAGS with IFF_UP.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 1))
UP
export PATH=/usr/local/bin:$TOOLS:$PATH HOME=/root
echo '127.0.0.1 localhost foreshadow.example' >/etc/hosts
# A refused request is a command that failed, in what documents show as well.
echo fail-with-body >/root/.curlrc
ln -sf "$PROGRAM" /usr/local/bin/foreshadow
ln -sf "$AGENT" /usr/local/bin/foreshadow-agent
mkdir -p /var/backups /etc/foreshadow
rm -rf /root/.foreshadow
cd "$REPOSITORY"
cp -r /mnt/. .
install -m 755 machines cargo /usr/local/bin/
mkdir -p target/release
mount --bind target/debug target/release
# All that is built is here; tests are another check's.
export CARGO_NET_OFFLINE=true FORESHADOW_UNTIL=binaries
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
foreshadow serve --config foreshadow.toml >/var/log/foreshadow 2>&1 &
for id in $INSTANCES; do foreshadow-agent --instance-id $id >/var/log/$id 2>&1 & done
ASK='curl -s http://127.0.0.1:7070'
"""
# Both with the past of two hours that `furnish` wrote.
SOURCES = r"""
promtool tsdb create-blocks-from openmetrics hosts.om tsdb >/dev/null
printf 'global:\n  scrape_interval: 1h\n' >prometheus.yml
prometheus --config.file=prometheus.yml --storage.tsdb.path=tsdb --web.listen-address=127.0.0.1:9090 --log.level=warn \
    >prometheus.log 2>&1 &
influxd run -config influxdb.conf >influxdb.log 2>&1 &
for url in http://127.0.0.1:9090/-/ready http://127.0.0.1:8086/ping; do
    curl -s --retry 60 --retry-delay 1 --retry-connrefused --retry-all-errors $url >/dev/null && continue
    cat prometheus.log influxdb.log; exit 1
done
curl -s http://127.0.0.1:8086/query --data-urlencode 'q=CREATE DATABASE telegraf' >/dev/null
curl -s 'http://127.0.0.1:8086/write?db=telegraf&precision=s' --data-binary @hosts.line
"""
PAST = r"""
foreshadow import csv past.csv --group web >/dev/null
"""
CERTIFIED = r"""
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
    -keyout ca.key -out /etc/foreshadow/ca.pem 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,DNS:foreshadow.example,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -CA /etc/foreshadow/ca.pem -CAkey ca.key -keyout /etc/foreshadow/key.pem -out /etc/foreshadow/certificate.pem 2>/dev/null
chmod 600 /etc/foreshadow/key.pem
cat /etc/foreshadow/ca.pem >>/etc/ssl/certs/ca-certificates.crt
"""
# Its group is this very machine, and port 7070 is the documents' own.
NAMED = r"""
cp named.toml foreshadow.toml
jq --arg id "$(hostname)" '.groups.web.members = [$id] | .machines = {($id): {"state": "running", "tags": {}}}' machines.json \
    >/usr/local/bin/machines.json
"""
SECURED = r"""
install -m 755 systemctl journalctl /usr/local/bin/
mkdir -p /var/lib/private/foreshadow
ln -sfn private/foreshadow /var/lib/foreshadow
jq --arg stranded "$STRANDED" --arg over "$(($(date +%s) - 86400))" --arg ids "$DETACHED" '($ids | split(" ")) as $more | .groups.web.members += $more
    | .machines += ([$more[] | {(.): {"state": "running", "tags": {}}}] | add)
    | .machines[$stranded] = {"state": "running", "tags":
        {"foreshadow:until": $over, "foreshadow:group": "web", "foreshadow:owner": "another"}}' machines.json >/usr/local/bin/machines.json
(umask 077; foreshadow token --name ops --role admin >FILE 2>entry; sed -n '/^\[token/,$p' entry >/etc/foreshadow/tokens.toml)
cp secured.toml /etc/foreshadow/foreshadow.toml
chmod 600 /etc/foreshadow/tokens.toml
cp -L /usr/local/bin/foreshadow /usr/local/bin/foreshadow.new
rm /usr/local/bin/foreshadow
cp -L /usr/local/bin/foreshadow.new /usr/local/bin/foreshadow
systemctl start foreshadow
export FORESHADOW_URL=https://localhost:7070 FORESHADOW_CA=/etc/foreshadow/ca.pem FORESHADOW_TOKEN_FILE=$PWD/FILE
(umask 077; foreshadow tokens join --name web --uses 9 >/etc/foreshadow/join.token)
for id in $INSTANCES $DETACHED; do
    printf 'instance_id = "%s"\naggregator = "https://localhost:7070"\nca = "/etc/foreshadow/ca.pem"
join_token_file = "/etc/foreshadow/join.token"\nidentity = "/root/%s"\n' $id $id >/etc/foreshadow/agent-$id.toml
done
# The first as a unit of this machine, which is an instance as well.
mv /etc/foreshadow/agent-i-1.toml /etc/foreshadow/agent.toml
systemctl start foreshadow-agent
for file in /etc/foreshadow/agent-*.toml; do foreshadow-agent --config $file >/var/log/${file##*/} 2>&1 & done
ASK="curl -s --cacert /etc/foreshadow/ca.pem -H @header https://localhost:7070"
(umask 077; printf 'Authorization: Bearer %s\n' "$(cat FILE)" >header)
TOKEN=$(cat FILE); export TOKEN READING=100
"""
# By hand, under the lock of the program that keeps them.
DETACH = r"""
flock /usr/local/bin/machines.json.lock bash -c '
    jq --arg ids "$0" ".groups.web.members -= (\$ids | split(\" \"))" /usr/local/bin/machines.json >detached.json
    mv detached.json /usr/local/bin/machines.json' "$DETACHED"
for _ in $(seq 300); do
    [[ $(foreshadow shadow --json | jq '[.[] | select(.ended == null)] | length') == $(wc -w <<<"$DETACHED") ]] && break
    sleep 0.2
done
"""
INVENTORY = """
[inventory]
interval_seconds = 5

[inventory.command]
program = "/usr/local/bin/machines"
groups = ["web"]
reach = "loopback"
"""
STORE = """
[store]
directory = "/var/lib/foreshadow"
"""
CERTIFICATE = """
[listen]
address = "0.0.0.0:7070"
certificate = "/etc/foreshadow/certificate.pem"
key = "/etc/foreshadow/key.pem"
"""
SECURED_TOML = """
[identity]
tokens = "/etc/foreshadow/tokens.toml"

[metric.queue]
of = "group"
"""
# Its tokens are where the documents put them.
NAMED_TOML = """
[identity]
tokens = "tokens.toml"
"""
INFLUXDB = """
reporting-disabled = true
bind-address = "127.0.0.1:8088"
[meta]
dir = "/srv/influx/meta"
[data]
dir = "/srv/influx/data"
wal-dir = "/srv/influx/wal"
[http]
bind-address = "127.0.0.1:8086"
"""
KINDS = {
    "bare": "",
    "named": CERTIFIED + NAMED,
    "plain": PLAIN + SOURCES + PLANNED,
    "past": PLAIN + PLANNED + PAST,
    "secured": CERTIFIED + SECURED + PLANNED + DETACH,
}


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
    (directory / "foreshadow.toml").write_text(STORE + INVENTORY)
    (directory / "named.toml").write_text(CERTIFICATE + NAMED_TOML + STORE + INVENTORY)
    (directory / "secured.toml").write_text(CERTIFICATE + SECURED_TOML + STORE + INVENTORY)
    (directory / "influxdb.conf").write_text(INFLUXDB)
    (directory / "cargo").write_text(CARGO)
    (directory / "systemctl").write_text(SYSTEMCTL)
    (directory / "journalctl").write_text(JOURNALCTL)
    begin = datetime.datetime(2026, 10, 1, tzinfo=datetime.timezone.utc)
    quarters = range(2 * 96)
    made_up = [1000 + 600 * math.sin(2 * math.pi * (step / 96 - 0.3)) + 40 * math.sin(step * 1.7) for step in quarters]
    times = [f"{begin + datetime.timedelta(minutes=15 * step):%Y-%m-%dT%H:%M:%SZ}" for step in quarters]
    history = "timestamp,value\n" + "".join(f"{at},{load:.1f}\n" for at, load in zip(times, made_up))
    (directory / "load.csv").write_text(history)
    (directory / "traces").mkdir()
    for name in "abc":
        (directory / "traces" / f"{name}.csv").write_text(history[: history.index(times[40])])
    origins = [{"series": name, "interval_seconds": 900, "horizon_steps": 24, "origins": [times[36]]} for name in "abc"]
    (directory / "origins_public.json").write_text(json.dumps({"series": origins}))
    now = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
    minutes = [now - datetime.timedelta(minutes=minute) for minute in range(6 * 1440, 60, -1)]
    rows = "".join(f"{at:%Y-%m-%dT%H:%M:%SZ},{usual(at):.1f},3\n" for at in minutes)
    (directory / "past.csv").write_text("timestamp,value,instances\n" + rows)
    recent = [int(at.timestamp()) for at in minutes[-120:]]
    idle = "".join(
        f'node_cpu_seconds_total{{mode="idle",job="web",instance="{id}"}} {0.6 * (at - recent[0]):.1f} {at}\n'
        for id in INSTANCES
        for at in recent
    )
    up = "".join(f'up{{job="web",instance="{id}"}} 1 {at}\n' for id in INSTANCES for at in recent)
    (directory / "hosts.om").write_text(f"# TYPE node_cpu_seconds counter\n{idle}# TYPE up gauge\n{up}# EOF\n")
    (directory / "hosts.line").write_text("".join(f"cpu,cpu=cpu-total usage_idle=60 {at}\n" for at in recent))
    tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    calendar = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//y//EN", "BEGIN:VEVENT", "UID:1@example.org"]
    calendar += [f"DTSTAMP:{tomorrow:%Y%m%dT%H%M%SZ}", f"DTSTART:{tomorrow:%Y%m%dT180000Z}", "DURATION:PT2H"]
    calendar += ["SUMMARY:campaign", "END:VEVENT", "END:VCALENDAR", ""]
    (directory / "marketing.ics").write_text("\r\n".join(calendar))
    for name in ("network.onnx", "network.json"):
        (directory / name).write_bytes((REPOSITORY / "aggregator/neural/shipped" / name).read_bytes())


def usual(at: datetime.datetime) -> float:
    """Mean utilisation at a time, percent: a day's wave, and minutes that differ."""
    return 35 + 20 * math.sin(2 * math.pi * (at.hour * 60 + at.minute) / 1440) + (at.minute * 7 % 11) / 3


def of_this_world(text: str) -> str:
    """With what this world has in the place of the reader's own; a day that is named is one of this year, for an event of more than
    a year ago is refused, and documents are read for years."""
    for theirs, ours in STANDS_FOR.items():
        text = text.replace(theirs, ours)
    return re.sub(r"\b2026-(03-06|11-27)T", rf"{datetime.date.today().year}-\1T", text)


def systemctl_of_packages(scheme: str) -> str:
    """The stub, of the packages' programs; one that ends at once is not waited for."""
    text = SYSTEMCTL.replace("/usr/local/bin/foreshadow", "/usr/bin/foreshadow").replace("https://", f"{scheme}://")
    waits = "do curl -sk"
    assert text.count(waits) == 1, "the stub waits in another way now"
    return text.replace(waits, 'do kill -0 "$(cat $pid)" 2>/dev/null || break; curl -sk')


def staying(command: str, log: str) -> str:
    """Runs what goes on until it is stopped beside what follows, and waits until it is at work."""
    return f""": >{log}
(exec {command.strip()}) >{log} 2>&1 &
until grep -qE '{AT_WORK}' {log}; do kill -0 $! || {{ cat {log} >&2; exit 1; }}; sleep 0.2; done"""


def script(kind: str, documents: dict) -> str:
    """The world, and in it each document: its blocks in one shell, one after the other, each announced by its place."""
    lines = [
        f"PROGRAM={shlex.quote(os.path.realpath(binary('foreshadow')))}",
        f"AGENT={shlex.quote(os.path.realpath(binary('foreshadow-agent')))}",
        f"TOOLS={shlex.quote(str(TOOLS))} INSTANCES='{' '.join(INSTANCES)}' DETACHED='{' '.join(DETACHED)}' STRANDED={STRANDED}",
        f"REPOSITORY={shlex.quote(str(REPOSITORY))}",
        f"export REAL_CARGO={shlex.quote(shutil.which('cargo'))}",
        # Its home is its own; the toolchain's is not.
        *(f"export {name}={shlex.quote(os.environ.get(name, str(Path.home() / place)))}" for name, place in TOOLCHAIN.items()),
        PREPARE,
        KINDS[kind],
    ]
    for name, blocks in documents.items():
        lines.append(f"echo '@@ {name}' >&2")
        # What defines functions comes first: a runbook begins with what is needed first.
        ordered = sorted(blocks, key=lambda block: "() {" not in block.text)
        body = ["trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
        for block in ordered:
            text = of_this_world(block.text)
            body += [f"echo '@@ {name}:{block.line}' >&2"]
            body += [staying(text, f"/var/log/{block.line}") if block.info == STAYS else text]
        text = "\n".join(body)
        lines.append(f"timeout {PROMISED_SECONDS.get(name, 400)} bash -e <<'THE DOCUMENT ENDS' || {{ echo '@@ failed' >&2; tail -n 40 /var/log/[0-9]* >&2; exit 1; }}\n{text}\nTHE DOCUMENT ENDS")
    return "\n".join(lines)
