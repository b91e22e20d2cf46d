"""Command lines and configuration files of the node."""

import ipaddress
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from localcluster import addons, commands, configs, network, pki, plan
from localcluster.errors import ClusterError
from localcluster.paths import Paths

PATHS = Paths(cache=Path("/c"), state=Path("/s/cluster"))
BINARIES = {name: f"/bin/{name}" for name in (*commands.ALL, *plan.TOOLS)}


def options(name: str) -> dict[str, str]:
    line = commands.command_lines(BINARIES, PATHS)[name]
    assert line[0] == f"/bin/{name}"
    return dict(argument.removeprefix("--").split("=", 1) for argument in line[1:])


def test_every_program_has_a_command_line() -> None:
    assert set(commands.command_lines(BINARIES, PATHS)) == set(commands.ALL)


def test_client_and_front_proxy_authorities_differ() -> None:
    flags = options("kube-apiserver")
    assert flags["client-ca-file"] != flags["requestheader-client-ca-file"]


def test_every_certificate_that_a_flag_names_is_made() -> None:
    made = {f"{name}.{kind}" for name in pki.AUTHORITIES for kind in ("crt", "key")}
    made |= {f"{item.file}.{kind}" for item in pki.CERTIFICATES for kind in ("crt", "key")}
    made.add("service-account.key")
    kubelet = json.dumps(configs.kubelet(str(PATHS.pki), str(PATHS.config), "group"))
    named = [value for name in commands.ALL for value in options(name).values() if value.startswith(str(PATHS.pki))]
    named += [part for part in kubelet.split('"') if part.startswith(str(PATHS.pki))]
    assert named
    assert {Path(value).name for value in named} <= made


def test_every_config_file_that_a_flag_names_is_written() -> None:
    content = plan.make(PATHS, BINARIES, "/usr/lib/cni")
    written = {*content.files, *(f"{name}.kubeconfig" for name in pki.KUBECONFIGS)}
    prefix = f"{PATHS.config}/"
    named = [value for name in commands.ALL for value in options(name).values() if value.startswith(prefix)]
    named.append(json.loads(content.files["kube-proxy.json"])["clientConnection"]["kubeconfig"])
    named.append(json.loads(content.files["kubelet.json"])["resolvConf"])
    assert {value.removeprefix(prefix) for value in named} <= written


def test_serving_certificates_cover_the_addresses_that_are_dialled() -> None:
    names = {certificate.file: certificate.alternatives for certificate in pki.CERTIFICATES}
    assert {f"IP:{network.API_SERVICE_IP}", f"IP:{network.NODE_IP}", "IP:127.0.0.1"} <= set(names["apiserver"])
    assert f"DNS:kubernetes.default.svc.{network.DOMAIN}" in names["apiserver"]
    assert f"IP:{network.NODE_IP}" in names["kubelet-server"]


def test_address_ranges_do_not_overlap() -> None:
    services, pods = ipaddress.ip_network(network.SERVICE_CIDR), ipaddress.ip_network(network.POD_CIDR)
    node = ipaddress.ip_address(network.NODE_IP)
    assert not services.overlaps(pods)
    assert node not in services
    assert node not in pods
    assert not node.is_loopback
    assert ipaddress.ip_address(network.DNS_SERVICE_IP) in services
    assert next(services.hosts()) == ipaddress.ip_address(network.API_SERVICE_IP)


def test_containerd_config_is_toml_with_what_runc_and_cni_need() -> None:
    parsed: dict[str, Any] = tomllib.loads(configs.containerd("/usr/lib/cni", "/s/cni"))
    cri = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert cri["cni"] == {"bin_dir": "/usr/lib/cni", "conf_dir": "/s/cni"}
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False


def test_kubelet_runs_below_its_own_control_group_and_on_cgroup_v1() -> None:
    kubelet = configs.kubelet("/p", "/c", "group")
    assert kubelet["cgroupRoot"] == "/group"
    assert kubelet["failCgroupV1"] is False
    assert kubelet["clusterDNS"] == [network.DNS_SERVICE_IP]


def test_a_group_becomes_an_organization() -> None:
    admin = next(certificate for certificate in pki.CERTIFICATES if certificate.file == "admin")
    text = pki.leaf_config(admin)
    assert "0.O = system:masters" in text
    assert "CN = kubernetes-admin" in text
    assert "CA:FALSE" in text
    assert "subjectAltName" not in text


def test_dns_serves_the_address_that_pods_are_told() -> None:
    items = {(item["kind"], item["metadata"]["name"]): item for item in map(_as_any, addons.coredns())}
    assert items["Service", "kube-dns"]["spec"]["clusterIP"] == network.DNS_SERVICE_IP
    template = items["Deployment", "coredns"]["spec"]["template"]
    assert items["Service", "kube-dns"]["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert template["spec"]["containers"][0]["imagePullPolicy"] == "Never"


def _as_any(item: dict[str, object]) -> dict[str, Any]:
    return item


def test_revision_changes_with_anything_that_is_started() -> None:
    before = plan.make(PATHS, BINARIES, "/usr/lib/cni")
    assert before.revision == plan.make(PATHS, dict(BINARIES), "/usr/lib/cni").revision
    assert before.revision != plan.make(PATHS, BINARIES, "/opt/cni/bin").revision
    assert before.revision != plan.make(PATHS, {**BINARIES, "kubelet": "/new/kubelet"}, "/usr/lib/cni").revision


def test_plan_survives_the_disk(tmp_path: Path) -> None:
    paths = Paths(cache=tmp_path / "cache", state=tmp_path)
    content = plan.make(paths, BINARIES, "/usr/lib/cni")
    plan.write(content, paths)
    assert plan.read(paths) == content
    assert (paths.config / "cni/10-pods.conflist").is_file()


@pytest.mark.parametrize("text", ["", "{", "{}", '{"files": {}}'])
def test_a_plan_that_was_not_written_whole_is_an_error(tmp_path: Path, text: str) -> None:
    paths = Paths(cache=tmp_path, state=tmp_path)
    paths.plan.write_text(text)
    with pytest.raises(ClusterError, match="not a whole plan"):
        plan.read(paths)
