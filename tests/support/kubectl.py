"""The cluster as tests see it: kubectl, with waits for conditions instead of sleeps."""

import atexit
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
Body = dict[str, Any]


class KubectlError(AssertionError):
    """kubectl failed; its words."""


def kubectl(*arguments: str, body: object = None, check: bool = True, timeout: float = 120) -> str:
    """Run kubectl; `body` (objects or YAML text) goes to its stdin. Its stdout."""
    text = None
    if body is not None:
        text = body if isinstance(body, str) else yaml.safe_dump_all(body if isinstance(body, list) else [body])
    done = subprocess.run(
        ["kubectl", *arguments], input=text, capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode != 0:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout if done.returncode == 0 else done.stderr


def eventually(
    what: Callable[[], T], *, timeout: float = 60, every: float = 0.1, why: Callable[[], object] | None = None
) -> T:
    """The first truthy answer of `what`; its last words (or `why`'s) when none came in time."""
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            last = what()
            if last:
                return last  # type: ignore[return-value]
        except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not true after {timeout} s: {why() if why else last}")
        time.sleep(every)


class Namespace:
    """One namespace of the cluster, as a test uses it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *arguments: str, **options: Any) -> str:
        return kubectl("-n", self.name, *arguments, **options)

    def apply(self, *bodies: Body | str) -> None:
        """`kubectl apply` as a user does it: strict validation, client-side apply."""
        texts = [body if isinstance(body, str) else yaml.safe_dump(body) for body in bodies]
        self.run("apply", "-f", "-", body="---\n".join(texts))

    def delete(self, *arguments: str) -> None:
        self.run("delete", *arguments, "--ignore-not-found", "--wait=true")

    def get(self, kind: str, name: str) -> Body:
        return json.loads(self.run("get", kind, name, "-o", "json"))

    def listed(self, kinds: str, selector: str = "") -> list[Body]:
        chosen = ["-l", selector] if selector else []
        return json.loads(self.run("get", kinds, *chosen, "-o", "json"))["items"]

    def condition(self, kind: str, name: str, type_: str) -> Mapping[str, str]:
        listed = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((c for c in listed if c["type"] == type_), {"status": "Missing", "reason": "", "message": ""})

    def wait(
        self, kind: str, name: str, type_: str, status: str = "True", *, reason: str = "", timeout: float = 90
    ) -> Mapping[str, str]:
        """Wait for a condition of the current generation."""

        def holds() -> Mapping[str, str] | None:
            body = self.get(kind, name)
            found = next((c for c in body.get("status", {}).get("conditions", []) if c["type"] == type_), None)
            if found is None or found["status"] != status or (reason and found["reason"] != reason):
                return None
            return found if found.get("observedGeneration") == body["metadata"]["generation"] else None

        return eventually(holds, timeout=timeout, why=lambda: self.get(kind, name).get("status"))

    def service_url(self, service: str, path: str) -> str:
        """URL of a Service as it is reached from here: by its cluster IP, or through a port-forward to the Service."""
        body = self.get("service", service)["spec"]
        port = body["ports"][0]["port"]
        if "MCP_OPERATOR_CLUSTER" in os.environ:
            return f"http://{body['clusterIP']}:{port}{path}"
        return f"http://127.0.0.1:{_forwarded(self.name, service, port)}{path}"

    def pods(self, selector: str) -> list[Body]:
        """Pods that are not ending."""
        return [pod for pod in self.listed("pods", selector) if not pod["metadata"].get("deletionTimestamp")]


def objects(text: str) -> Sequence[Body]:
    """The documents of a YAML text."""
    return [body for body in yaml.safe_load_all(text) if body]


_forwards: dict[tuple[str, str], tuple[subprocess.Popen[str], int]] = {}


def _forwarded(namespace: str, service: str, port: int) -> int:
    """Local port of a `kubectl port-forward` to a Service that lives as long as this process."""
    known = _forwards.get((namespace, service))
    if known is None or known[0].poll() is not None:
        command = ["kubectl", "-n", namespace, "port-forward", f"service/{service}", f":{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        atexit.register(process.terminate)
        assert process.stdout
        known = process, int(process.stdout.readline().rpartition(" -> ")[0].rpartition(":")[2])
        _forwards[namespace, service] = known
    return known[1]
