"""The objects that every cluster has from its start: DNS (pure)."""

from localcluster.network import DNS_SERVICE_IP, DOMAIN

COREDNS_IMAGE = "localhost/coredns:static"
LABELS = {"k8s-app": "kube-dns"}
METADATA = {"name": "coredns", "namespace": "kube-system", "labels": LABELS}

# Short caches: tests make and delete Services all the time. No plugin forwards, so foreign names get REFUSED at once.
COREFILE = f"""{DOMAIN}:53 in-addr.arpa:53 {{
    errors
    health :8080 {{
        lameduck 0s
    }}
    ready :8181
    kubernetes {DOMAIN} in-addr.arpa {{
        pods insecure
        ttl 1
    }}
    cache {{
        success 4096 1
        denial 1024 1
    }}
}}
"""


def coredns() -> list[dict[str, object]]:
    """CoreDNS as a Deployment behind the Service `kube-dns`, with what it may read."""
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": METADATA},
        *_permissions(),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": METADATA, "data": {"Corefile": COREFILE}},
        _deployment(),
        _service(),
    ]


def _permissions() -> list[dict[str, object]]:
    rbac = "rbac.authorization.k8s.io"
    role = {"name": "system:coredns"}
    readable = {"": ["services", "namespaces", "endpoints", "pods"], "discovery.k8s.io": ["endpointslices"]}
    rules = [
        {"apiGroups": [group], "resources": names, "verbs": ["list", "watch"]} for group, names in readable.items()
    ]
    subject = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    reference = {"apiGroup": rbac, "kind": "ClusterRole", **role}
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": role, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": role,
            "roleRef": reference,
            "subjects": [subject],
        },
    ]


def _deployment() -> dict[str, object]:
    container = {
        "name": "coredns",
        "image": COREDNS_IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1, "timeoutSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 30, "timeoutSeconds": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": METADATA,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": pod},
        },
    }


def _service() -> dict[str, object]:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**METADATA, "name": "kube-dns"},
        "spec": {"clusterIP": DNS_SERVICE_IP, "selector": LABELS, "ports": ports},
    }


def manifest() -> dict[str, object]:
    """Everything as one List, for `kubectl apply`."""
    return {"apiVersion": "v1", "kind": "List", "items": coredns()}
