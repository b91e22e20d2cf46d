"""Which addresses a server may have, by name and by settings."""

import pytest

from mcp_operator_proxy.egress import Egress

SERVICE = "api.tools.svc.cluster.local"


@pytest.mark.parametrize(
    ("host", "address", "kind"),
    [
        ("example.com", "93.184.216.34", None),
        ("example.com", "2606:2800:220:1:248:1893:25c8:1946", None),
        ("example.com", "127.0.0.1", "loopback"),
        ("example.com", "127.8.9.10", "loopback"),
        ("example.com", "::1", "loopback"),
        ("localhost", "::ffff:127.0.0.1", "loopback"),
        ("example.com", "169.254.169.254", "metadata"),
        ("example.com", "::ffff:169.254.169.254", "metadata"),
        ("example.com", "64:ff9b::a9fe:a9fe", "metadata"),
        ("example.com", "64:ff9b:1::a9fe:a9fe", "metadata"),
        ("example.com", "2002:a9fe:a9fe::1", "metadata"),
        ("example.com", "::169.254.169.254", "metadata"),
        ("example.com", "100.100.100.200", "metadata"),
        ("example.com", "168.63.129.16", "metadata"),
        ("example.com", "fd00:ec2::254", "metadata"),
        ("example.com", "169.254.1.1", "link-local"),
        ("example.com", "fe80::1", "link-local"),
        ("example.com", "fe80::1%eth0", "link-local"),
        ("example.com", "10.0.0.1", "private"),
        ("example.com", "172.16.0.1", "private"),
        ("example.com", "192.168.1.1", "private"),
        ("example.com", "100.64.0.1", "private"),
        ("example.com", "fd12::1", "private"),
        ("example.com", "fec0::1", "private"),
        ("example.com", "64:ff9b::a00:1", "private"),
        ("example.com", "64:ff9b::5db8:d822", None),
        ("example.com", "2002:a00:1::1", "private"),
        ("example.com", "0.0.0.0", "no server"),
        ("example.com", "::", "no server"),
        ("example.com", "224.0.0.1", "no server"),
        ("example.com", "ff02::1", "no server"),
        ("example.com", "255.255.255.255", "no server"),
        ("example.com", "not an address", "no address"),
        ("example.com", "0x7f.1", "no address"),
        # Services of the cluster
        (SERVICE, "10.96.0.10", None),
        ("api.tools.svc", "10.96.0.10", None),
        ("API.Tools.SVC.cluster.local.", "fd00:10:96::a", None),
        ("pod-0.api.tools.svc.cluster.local", "10.244.0.7", None),
        (SERVICE, "169.254.169.254", "metadata"),
        (SERVICE, "127.0.0.1", "loopback"),
        (SERVICE, "93.184.216.34", None),
        ("api.tools.svc.cluster.local.example.com", "10.96.0.10", "private"),
        ("svc", "10.96.0.10", "private"),
        ("tools.svc", "10.96.0.10", "private"),
        ("evil-svc", "10.96.0.10", "private"),
    ],
)
def test_what_is_allowed_by_itself(host: str, address: str, kind: str | None) -> None:
    refused = Egress().refusal(host, address)
    assert refused is None if kind is None else kind in (refused or "")
    assert refused is None or host in refused


@pytest.mark.parametrize(
    ("egress", "address", "allowed"),
    [
        (Egress(loopback=True), "127.0.0.1", True),
        (Egress(loopback=True), "::1", True),
        (Egress(loopback=True), "::ffff:127.0.0.1", True),
        (Egress(loopback=True), "10.0.0.1", False),
        (Egress.of(["10.1.0.0/16"]), "10.1.2.3", True),
        (Egress.of(["10.1.0.0/16"]), "::ffff:10.1.2.3", True),
        (Egress.of(["10.1.0.0/16"]), "10.2.2.3", False),
        (Egress.of(["fd12::/16"]), "fd12::1", True),
        (Egress.of(["0.0.0.0/0"]), "169.254.1.1", True),
        (Egress.of(["0.0.0.0/0", "::/0"]), "169.254.169.254", False),
        (Egress.of(["0.0.0.0/0", "::/0"]), "fd00:ec2::254", False),
        (Egress.of(["169.254.169.254/32"]), "169.254.169.254", True),
        (Egress.of(cluster_domain="corp.example"), "10.0.0.1", False),
    ],
)
def test_what_settings_allow(egress: Egress, address: str, allowed: bool) -> None:
    assert (egress.refusal("name.example", address) is None) is allowed


def test_another_cluster_domain() -> None:
    egress = Egress.of(cluster_domain="corp.example")
    assert egress.refusal("api.tools.svc.corp.example", "10.0.0.1") is None
    assert egress.refusal(SERVICE, "10.0.0.1") is not None


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0", "everything", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits|netmask"):
        Egress.of([network])


@pytest.mark.parametrize(
    ("host", "looked_up"),
    [
        ("otel-collector", "otel-collector.team.svc.cluster.local"),
        ("Otel", "otel.team.svc.cluster.local"),
        ("2130706433", "2130706433.team.svc.cluster.local"),
        ("localhost", "localhost"),
        ("otel.", "otel."),
        ("otel.other", "otel.other"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("-x", "-x"),
    ],
)
def test_a_name_of_one_label_is_a_service_of_the_namespace(host: str, looked_up: str) -> None:
    egress = Egress(namespace="team")
    assert egress.looked_up(host) == looked_up
    assert (egress.refusal(egress.looked_up(host), "10.0.0.7") is None) == looked_up.endswith(".svc.cluster.local")
    assert Egress().looked_up(host) == host
