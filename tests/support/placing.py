"""What controllers and kubelets would do for a Prometheus that looks around in an API server which stands alone: pods and Endpoints.

No container runs. Pods have the labels and the ports of their templates, and addresses that a test chooses.
"""

from collections.abc import Mapping
from typing import Any

from support.controlplane import ControlPlane

Body = dict[str, Any]


def place(plane: ControlPlane, namespace: str, template: Body, addresses: Mapping[str, str]) -> None:
    """Pods of a Deployment's template that run and are ready: addresses by names. The namespace has a ServiceAccount `default`."""
    containers = [{"name": c["name"], "image": c["image"], "ports": c["ports"]} for c in template["spec"]["containers"]]
    spec = {"containers": containers, "automountServiceAccountToken": False}
    for name, address in addresses.items():
        metadata = {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        plane.kubectl("create", "-f", "-", body=pod)
        plane.kubectl("replace", "--subresource=status", "-f", "-", body={**pod, "status": status})


def lead_to(plane: ControlPlane, service: Body, template: Body, addresses: Mapping[str, str]) -> None:
    """The Endpoints of a Service with these pods, as the endpoints controller makes them: with the Service's labels."""
    chosen, about = service["spec"]["selector"], service["metadata"]
    assert chosen.items() <= template["metadata"]["labels"].items(), "the Service selects these pods"
    numbers = {port["name"]: port["containerPort"] for c in template["spec"]["containers"] for port in c["ports"]}
    ports = [
        {"name": port["name"], "port": numbers.get(port["targetPort"], port["targetPort"]), "protocol": "TCP"}
        for port in service["spec"]["ports"]
    ]
    namespace = about["namespace"]
    subset = [
        {"ip": address, "targetRef": {"kind": "Pod", "name": name, "namespace": namespace}}
        for name, address in addresses.items()
    ]
    metadata = {"name": about["name"], "namespace": namespace, "labels": about["labels"]}
    body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    plane.kubectl("create", "-f", "-", body={**body, "subsets": [{"addresses": subset, "ports": ports}]})
