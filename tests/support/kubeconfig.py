"""A kubeconfig for a server of a test."""

from pathlib import Path

import yaml


def kubeconfig(path: Path, server: str, *, token: str | None = None, authority: Path | None = None) -> str:
    trust = {"certificate-authority": str(authority)} if authority else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, **trust}}],
        "users": [{"name": "test", "user": {"token": token} if token else {}}],
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)
