"""The configuration files of containerd, kubelet and kube-proxy, rendered (pure)."""

from localcluster.network import DNS_SERVICE_IP, DOMAIN, NODE, NODE_IP, POD_CIDR

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/pause:static"
MAXIMUM_PODS = 60


def containerd(cni_plugins: str, cni_config: str) -> str:
    """containerd's config.toml (version 2, which 1.x and 2.x read).

    `restrict_oom_score_adj`: without CAP_SYS_RESOURCE runc dies ("can't get final child's PID from pipe: EOF") when a
    container asks for a score below its parent's.
    """
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
                    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_plugins}"
    conf_dir = "{cni_config}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def kubelet(pki: str, config: str, cgroup: str) -> dict[str, object]:
    """The KubeletConfiguration (kubelet.config.k8s.io/v1beta1).

    The kubelet runs on machines with cgroup v1, swap, or little free disk, and never collects images: nothing could
    pull them again.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-server.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "evictionHard": dict.fromkeys(
            ["memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"], "1%"
        ),
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": MAXIMUM_PODS,
        "clusterDNS": [DNS_SERVICE_IP],
        "clusterDomain": DOMAIN,
        "resolvConf": f"{config}/upstream-resolv.conf",
        "podLogsDir": "/var/lib/kubelet/pod-logs",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "rotateCertificates": False,
        "nodeStatusUpdateFrequency": "5s",
    }


def kube_proxy(config: str) -> dict[str, object]:
    """The KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1); zero leaves the machine's conntrack limits alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{config}/kube-proxy.kubeconfig"},
        "hostnameOverride": NODE,
        "bindAddress": NODE_IP,
        "clusterCIDR": POD_CIDR,
        "mode": "iptables",
        "oomScoreAdj": 0,
        "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def kubeconfig(server: str, authority: str, certificate: str, key: str) -> dict[str, object]:
    """A kubeconfig with one context; the three credentials are base64 of PEM files."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "local", "user": {"client-certificate-data": certificate, "client-key-data": key}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    }
