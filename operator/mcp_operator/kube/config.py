"""Which API server, and as whom: a kubeconfig, or the service account of the pod."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from mcp_operator.kube.errors import ConfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the configuration is read from: the named kubeconfig, or (None) the pod's service account."""

    kubeconfig: str | None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """A loaded configuration and the namespace that belongs to it."""

    configuration: Any
    namespace: str


def find(kubeconfig: str | None = None, context: str | None = None) -> Source:
    """The source: what is asked for, else KUBECONFIG, else the pod's service account, else `~/.kube/config`.

    `ConfigError` when there is none. KUBECONFIG may name several files, as for kubectl.
    """
    named = kubeconfig or os.environ.get("KUBECONFIG")
    if named:
        if not any(Path(path).expanduser().is_file() for path in named.split(os.pathsep) if path):
            raise ConfigError(f"kubeconfig {named} does not exist")
        return Source(named, context)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return Source(None)
    default = Path.home() / ".kube" / "config"
    if not default.is_file():
        raise ConfigError(f"no KUBECONFIG, no service account of a pod and no {default}: no cluster to talk to")
    return Source(str(default), context)


async def load(source: Source) -> Access:
    """Read the source anew. `ConfigError` when it is unusable; its message holds no credential."""
    configuration = Configuration()
    try:
        if source.kubeconfig is None:
            load_incluster_config(client_configuration=configuration)
            namespace = _pod_namespace()
        else:
            loader = await load_kube_config(
                source.kubeconfig, context=source.context, client_configuration=configuration, persist_config=False
            )
            namespace = loader.current_context["context"].get("namespace") or "default"
    except (ConfigException, OSError, yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        where = source.kubeconfig or "the pod's service account"
        raise ConfigError(f"{where}: {_reason(error)}") from None
    configuration.proxy = configuration.proxy or _environment_proxy(configuration.host)
    # aiohttp would ask the environment at every request, in the thread pool where host names are looked up: a few names
    # that nobody answers for would hold up every call, the renewal of the lease among them.
    configuration.client_session_kwargs = {"trust_env": False}
    return Access(configuration, namespace)


def _environment_proxy(host: str) -> str | None:
    """The HTTP proxy that the environment names for the API server, if any."""
    url = urlsplit(host)
    if url.hostname is None or proxy_bypass(url.hostname):
        return None
    return getproxies().get(url.scheme)


def _reason(error: Exception) -> str:
    """What is wrong, without the parts of the file that the client library quotes: they may hold a token."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"not YAML, line {error.problem_mark.line + 1}"
    if isinstance(error, ConfigException):
        return str(error).partition("{")[0].rstrip(" /")
    return error.strerror or "unreadable" if isinstance(error, OSError) else "malformed"


def _pod_namespace() -> str:
    return (SERVICE_ACCOUNT / "namespace").read_text().strip() or "default"
