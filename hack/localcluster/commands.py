"""The command lines of the node's long-running programs (pure)."""

from collections.abc import Mapping

from localcluster.network import API_PORT, DOMAIN, NODE, NODE_IP, SERVICE_CIDR
from localcluster.paths import Paths

RUNTIME = ("etcd", "containerd")
API = ("kube-apiserver",)
NODE_AGENTS = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
ALL = (*RUNTIME, *API, *NODE_AGENTS)
ETCD_CLIENTS = "http://127.0.0.1:2379"
ETCD_PEERS = "http://127.0.0.1:2380"


def flags(values: Mapping[str, str]) -> list[str]:
    """`--name=value` for each."""
    return [f"--{name}={value}" for name, value in values.items()]


def etcd() -> list[str]:
    """etcd on a tmpfs; nothing of it outlives the cluster, so it need not wait for a disk."""
    values = {
        "name": NODE,
        "data-dir": "/var/lib/etcd",
        "listen-client-urls": ETCD_CLIENTS,
        "advertise-client-urls": ETCD_CLIENTS,
        "listen-peer-urls": ETCD_PEERS,
        "initial-advertise-peer-urls": ETCD_PEERS,
        "initial-cluster": f"{NODE}={ETCD_PEERS}",
        "quota-backend-bytes": str(2 * 1024**3),
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "30m",
        "logger": "zap",
        "log-level": "warn",
    }
    return flags(values)


def kube_apiserver(pki: str) -> list[str]:
    """The aggregation layer has an authority of its own: one that equals the client CA breaks client certificates."""
    values = {
        "etcd-servers": ETCD_CLIENTS,
        "advertise-address": NODE_IP,
        "bind-address": "0.0.0.0",
        "secure-port": str(API_PORT),
        "service-cluster-ip-range": SERVICE_CIDR,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "client-ca-file": f"{pki}/ca.crt",
        "tls-cert-file": f"{pki}/apiserver.crt",
        "tls-private-key-file": f"{pki}/apiserver.key",
        "kubelet-certificate-authority": f"{pki}/ca.crt",
        "kubelet-client-certificate": f"{pki}/apiserver-kubelet-client.crt",
        "kubelet-client-key": f"{pki}/apiserver-kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",
        "requestheader-client-ca-file": f"{pki}/front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": f"{pki}/front-proxy-client.crt",
        "proxy-client-key-file": f"{pki}/front-proxy-client.key",
        "enable-aggregator-routing": "true",
        "service-account-issuer": f"https://kubernetes.default.svc.{DOMAIN}",
        "service-account-key-file": f"{pki}/service-account.key",
        "service-account-signing-key-file": f"{pki}/service-account.key",
        "profiling": "false",
    }
    return flags(values)


def kube_controller_manager(pki: str, config: str) -> list[str]:
    """One instance, so no leader election; shorter periods than a big cluster would use."""
    values = {
        "kubeconfig": f"{config}/kube-controller-manager.kubeconfig",
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "root-ca-file": f"{pki}/ca.crt",
        "service-account-private-key-file": f"{pki}/service-account.key",
        "cluster-signing-cert-file": f"{pki}/ca.crt",
        "cluster-signing-key-file": f"{pki}/ca.key",
        "allocate-node-cidrs": "false",
        "node-monitor-period": "1s",
        "kube-api-qps": "300",
        "kube-api-burst": "600",
        "horizontal-pod-autoscaler-sync-period": "5s",
        "profiling": "false",
    }
    return flags(values)


def kube_scheduler(config: str) -> list[str]:
    """One instance, so no leader election."""
    values = {
        "kubeconfig": f"{config}/kube-scheduler.kubeconfig",
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "profiling": "false",
    }
    return flags(values)


def kubelet(config: str) -> list[str]:
    """What KubeletConfiguration cannot say."""
    values = {
        "config": f"{config}/kubelet.json",
        "kubeconfig": f"{config}/kubelet.kubeconfig",
        "hostname-override": NODE,
        "node-ip": NODE_IP,
    }
    return flags(values)


def command_lines(binaries: Mapping[str, str], paths: Paths) -> dict[str, list[str]]:
    """The whole command line of every program, by name; `binaries` maps each to its absolute path."""
    pki, config = str(paths.pki), str(paths.config)
    arguments = {
        "etcd": etcd(),
        "containerd": [f"--config={config}/containerd.toml", "--log-level=info"],
        "kube-apiserver": kube_apiserver(pki),
        "kube-controller-manager": kube_controller_manager(pki, config),
        "kube-scheduler": kube_scheduler(config),
        "kubelet": kubelet(config),
        "kube-proxy": [f"--config={config}/kube-proxy.json"],
    }
    assert tuple(arguments) == ALL, "every program has a command line"
    return {name: [binaries[name], *values] for name, values in arguments.items()}
