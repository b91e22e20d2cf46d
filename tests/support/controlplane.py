"""etcd and a real kube-apiserver as processes of a test or benchmark, which may stop and start the API server.

with ControlPlane(folder) as plane:
    plane.stop_api(); plane.start_api()
"""

import base64
import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

from localcluster import binaries, commands, configs, pki
from localcluster.paths import from_environment
from support.backends import free_port

START_SECONDS = 90.0
END_SECONDS = 30.0


def free_ports(count: int) -> list[int]:
    """So many different ports of the loopback address that nobody listens on."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


class ControlPlane:
    """The API server without a controller, a scheduler or a node: it stores, admits, watches and authorizes.

    `etcd` and `api` are flags by their names, over those that are set here. Raises ClusterError where a program is missing.
    """

    def __init__(
        self, folder: Path, *, etcd: Mapping[str, str] | None = None, api: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._etcd_own, self._api_own = dict(etcd or {}), dict(api or {})
        self._programs = binaries.locate(["etcd", "kube-apiserver", "kubectl"], from_environment(os.environ).cache)
        clients, peers, self.port = free_ports(3)
        self._etcd_clients, self._etcd_peers = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
        self.url = f"https://127.0.0.1:{self.port}"
        self.pki = folder / "pki"
        self.kubeconfig = folder / "admin.kubeconfig"
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        pki.create(self.pki)
        names = ("ca.crt", "admin.crt", "admin.key")
        encoded = (base64.b64encode((self.pki / name).read_bytes()).decode() for name in names)
        self.kubeconfig.write_text(json.dumps(configs.kubeconfig(self.url, *encoded)))
        try:
            self._etcd = self._start("etcd", self._etcd_flags())
            self.start_api()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._api, self._etcd):
            if process is not None:
                _end(process)

    def start_api(self) -> None:
        """Start the API server and wait until it is ready."""
        self._api = self._start("kube-apiserver", self._api_flags())
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert self._api.poll() is None, self.log("kube-apiserver")
            assert time.monotonic() < deadline, self.log("kube-apiserver")
            time.sleep(0.1)

    def stop_api(self) -> None:
        """End the API server without a word to anybody: connections break, then are refused."""
        assert self._api is not None
        self._api.kill()
        self._api.wait(END_SECONDS)

    def kubectl(self, *arguments: str, body: object = None) -> str:
        """Output of kubectl as the administrator; `body` goes to stdin as JSON."""
        command = [self._programs["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments]
        text = None if body is None else json.dumps(body)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    @property
    def pids(self) -> list[int]:
        """Of what runs."""
        return [process.pid for process in (self._etcd, self._api) if process is not None]

    def client_tls(self, *, admin: bool) -> ssl.SSLContext:
        """Trusts the API server; with `admin` it brings the administrator's certificate."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        if admin:
            context.load_cert_chain(str(self.pki / "admin.crt"), str(self.pki / "admin.key"))
        return context

    def log(self, program: str) -> str:
        """The end of a program's log."""
        return (self._folder / f"{program}.log").read_text()[-4000:]

    def _start(self, program: str, flags: list[str]) -> subprocess.Popen[bytes]:
        output: IO[bytes]
        with (self._folder / f"{program}.log").open("ab") as output:
            return subprocess.Popen([self._programs[program], *flags], stdout=output, stderr=output, cwd=self._folder)

    def _is_ready(self) -> bool:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.client_tls(admin=True))
        )
        try:
            with opener.open(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _etcd_flags(self) -> list[str]:
        """Nothing of it outlives the test, so it need not wait for the disk."""
        return commands.flags(
            {
                "name": "test",
                "data-dir": str(self._folder / "etcd"),
                "listen-client-urls": self._etcd_clients,
                "advertise-client-urls": self._etcd_clients,
                "listen-peer-urls": self._etcd_peers,
                "initial-advertise-peer-urls": self._etcd_peers,
                "initial-cluster": f"test={self._etcd_peers}",
                "unsafe-no-fsync": "true",
                "logger": "zap",
                "log-level": "warn",
                **self._etcd_own,
            }
        )

    def _api_flags(self) -> list[str]:
        given = dict(flag.removeprefix("--").split("=", 1) for flag in commands.kube_apiserver(str(self.pki)))
        own = {
            "etcd-servers": self._etcd_clients,
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": str(self.port),
            "endpoint-reconciler-type": "none",
        }
        return commands.flags({**given, **own, **self._api_own})


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_SECONDS)
