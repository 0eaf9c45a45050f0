"""The images: made without a daemon, read by another tool, unpacked, and their programs run in them as their user."""

import json
import subprocess

from product import DEPLOY, Check, binary, eventually, free_port, get, process, version

BUILD = DEPLOY / "image/build.sh"


class Image(Check):
    def unpacked(self, name: str, arguments: list, ports: list):
        """Makes and unpacks the image of a program, and sees that it is what it says; gives its root."""
        directory = self.directory()
        directory.chmod(0o755)
        program = directory / name
        self.run_tool("strip", "-o", program, binary(name))
        layout = directory / "layout"
        said = self.run_tool(BUILD, program, layout, timeout=180)
        self.assertIn(f"oci:{layout}:{version()}", said)

        read = json.loads(self.run_tool("skopeo", "inspect", "--config", f"oci:{layout}:{version()}"))
        config = read["config"]
        self.assertEqual(config["User"], "65532:65532")
        self.assertEqual(config["Entrypoint"], [f"/usr/bin/{name}"])
        self.assertEqual(config["Cmd"], arguments)
        self.assertEqual(read["architecture"], "amd64")
        self.assertEqual(list(config.get("ExposedPorts", {})), ports)

        bundle = directory / "bundle"
        self.run_tool("umoci", "unpack", "--image", f"{layout}:{version()}", bundle)
        root = bundle / "rootfs"
        found = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
        self.assertLessEqual({"etc/ssl/certs/ca-certificates.crt", f"usr/share/doc/{name}/LICENSE"}, found)
        self.assert_names_licences(name, (root / f"usr/share/doc/{name}/THIRD-PARTY-NOTICES").read_text())
        self.assertFalse([path for path in found if path.endswith("/sh") or "bash" in path], "no shell is in it")
        owner = (root / f"var/lib/{name}").stat()
        self.assertEqual((owner.st_uid, owner.st_gid), (65532, 65532))
        inside = ["chroot", "--userspec=65532:65532", root, f"/usr/bin/{name}"]
        self.assertEqual(self.run_tool(*inside, "--version").strip(), f"{name} {version()}")
        return root, inside

    def test_the_agents_image_has_what_its_program_needs(self):
        # That it samples and streams from its image needs /proc in it: check_tarball, of the static one.
        self.unpacked("foreshadow-agent", ["--config", "/etc/foreshadow/agent.toml"], [])

    def test_the_image_runs_as_nobody_special_and_needs_nothing_of_its_host(self):
        root, inside = self.unpacked("foreshadow", ["serve", "--config", "/etc/foreshadow/foreshadow.toml"], ["7070/tcp"])
        port = free_port()
        listen = ["serve", "--listen", f"127.0.0.1:{port}", "--directory", "/var/lib/foreshadow"]
        log = self.directory() / "log"
        with process(log, *inside, *listen) as running:
            try:
                eventually("answer", lambda: get(f"http://127.0.0.1:{port}/healthz"))
            except AssertionError as error:
                raise AssertionError(f"{error}: {log.read_text()}") from error
            running.terminate()
            self.assertEqual(running.wait(timeout=30), 0, log.read_text())
        self.assertTrue((root / "var/lib/foreshadow/foreshadow.db").exists())

    def test_what_is_wrong_is_said(self):
        directory = self.directory()
        (directory / "foreshadow").write_bytes(binary("foreshadow-agent").read_bytes()[:4096])
        for arguments, said in (
            ([directory / "other", directory / "layout"], "neither foreshadow nor foreshadow-agent"),
            (["--arch", "mips", directory / "foreshadow", directory / "layout"], "--arch mips: amd64 or arm64"),
            (["--arch", "arm64", directory / "foreshadow", directory / "layout"], "is not for arm64"),
            ([directory / "foreshadow", directory], "is there already"),
        ):
            ended = subprocess.run([BUILD, *arguments], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((ended.returncode, said in ended.stderr), (64, True), ended.stderr)
