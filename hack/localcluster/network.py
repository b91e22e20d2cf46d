"""The cluster's addresses, and the commands that lay them out inside its network namespace (pure).

Pods are attached by the CNI plugin `ptp`: every packet between two pods is routed, so Services reach any pod, also the
caller's own, and see the caller's address, with no bridge filtering needed. The node's address stands on the loopback
device: it is not one of 127.0.0.0/8 (which the kubelet refuses), and pods reach it through their gateway.
"""

NODE = "node"
NODE_IP = "172.30.0.1"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"
API_PORT = 6443
DOMAIN = "cluster.local"
LOCAL_API = f"https://127.0.0.1:{API_PORT}"

# No route leads out of the namespace; without one for Services the kernel would refuse to send before NAT sees a packet.
SETUP = (
    ("ip", "link", "set", "lo", "up"),
    ("ip", "address", "add", f"{NODE_IP}/32", "dev", "lo"),
    ("ip", "route", "add", SERVICE_CIDR, "dev", "lo", "src", NODE_IP),
)
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}

HOSTS = f"""127.0.0.1 localhost
::1 localhost ip6-localhost
{NODE_IP} {NODE}
"""
# For processes on the node, tests among them: Service names resolve, everything else is refused at once.
NODE_RESOLV_CONF = f"""nameserver {DNS_SERVICE_IP}
search svc.{DOMAIN} {DOMAIN}
options ndots:3 timeout:2
"""
# For pods with dnsPolicy Default: there is no DNS outside the cluster.
UPSTREAM_RESOLV_CONF = "options timeout:1\n"


def cni_config() -> dict[str, object]:
    """The CNI network configuration list (CNI specification 1.0.0, section 1)."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": POD_CIDR}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/containerd/cni",
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
