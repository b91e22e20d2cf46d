"""Restarts, control groups and package probes."""

from pathlib import Path

import pytest

from localcluster import cgroups, debian
from localcluster.supervisor import FIRST_PAUSE, LONGEST_PAUSE, next_pause, read_programs


@pytest.mark.parametrize(
    ("previous", "ran", "expected"),
    [
        (0.0, 0.0, FIRST_PAUSE),
        (FIRST_PAUSE, 0.5, 2 * FIRST_PAUSE),
        (8.0, 0.5, LONGEST_PAUSE),
        (LONGEST_PAUSE, 0.5, LONGEST_PAUSE),
        (LONGEST_PAUSE, 3600.0, FIRST_PAUSE),
    ],
)
def test_a_program_that_keeps_ending_early_waits_longer(previous: float, ran: float, expected: float) -> None:
    assert next_pause(previous, ran) == expected


def test_a_half_written_list_of_programs_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "programs.json"
    assert read_programs(file) == {}
    file.write_text('{"etcd": ')
    assert read_programs(file) == {}
    file.write_text('{"etcd": {"pid": 7, "restarts": 0}}')
    assert read_programs(file) == {"etcd": {"pid": 7, "restarts": 0}}


def make_v1(root: Path) -> None:
    for name in ("cpuset", "memory", "unified"):
        (root / name).mkdir()
        (root / name / "cgroup.procs").write_text("1\n")
    (root / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (root / "cpuset" / "cpuset.mems").write_text("0\n")
    (root / "unified" / "cgroup.controllers").write_text("")
    (root / "unified" / "cgroup.subtree_control").write_text("")
    (root / "cpu,cpuacct").mkdir()
    (root / "cpu,cpuacct" / "cgroup.procs").write_text("")
    (root / "cpu").symlink_to("cpu,cpuacct")


def test_trees_of_v1_count_a_linked_one_once(tmp_path: Path) -> None:
    make_v1(tmp_path)
    assert [tree.name for tree in cgroups.trees(tmp_path)] == ["cpu,cpuacct", "cpuset", "memory", "unified"]


def test_tree_of_v2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    (tmp_path / "system.slice").mkdir()
    (tmp_path / "system.slice" / "cgroup.procs").write_text("")
    assert cgroups.trees(tmp_path) == [tmp_path]


def test_a_group_inherits_cores_in_v1(tmp_path: Path) -> None:
    make_v1(tmp_path)
    cgroups.create("ours", tmp_path)
    assert (tmp_path / "cpuset" / "ours" / "cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "memory" / "ours").is_dir()


def test_remove_takes_nested_groups_and_leaves_others(tmp_path: Path) -> None:
    make_v1(tmp_path)
    (tmp_path / "memory" / "ours" / "kubepods" / "burstable").mkdir(parents=True)
    (tmp_path / "memory" / "kubepods").mkdir()
    cgroups.remove("ours", tmp_path)
    assert not (tmp_path / "memory" / "ours").exists()
    assert (tmp_path / "memory" / "kubepods").is_dir()


def test_only_missing_packages_are_named() -> None:
    packages = {"runc": "runc", "iproute2": "ip", "etcd-server": "etcd"}
    assert debian.missing(packages, present=lambda probe: probe == "ip") == ["runc", "etcd-server"]


ANOTHER_POLICY = "#!/bin/sh\nexit 0\n"


@pytest.mark.parametrize("before", [None, ANOTHER_POLICY], ids=["no policy", "a policy that allows"])
def test_services_are_denied_meanwhile_and_the_policy_comes_back(tmp_path: Path, before: str | None) -> None:
    policy = tmp_path / "policy-rc.d"
    if before is not None:
        policy.write_text(before)
        policy.chmod(0o755)
    with debian.no_services(policy):
        assert policy.read_text() == debian.POLICY_DENIES
    assert (policy.read_text() if policy.exists() else None) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if before is None else ["policy-rc.d"])


def test_a_policy_that_denies_already_is_left_alone(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    with debian.no_services(policy):
        assert policy.read_text() == "#!/bin/sh\nexit 101\n"
    assert policy.exists()


def test_a_killed_installation_is_put_right_by_the_next(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text(debian.POLICY_DENIES)
    (tmp_path / "policy-rc.d.before-mcp-operator").write_text(ANOTHER_POLICY)
    (tmp_path / "policy-rc.d.before-mcp-operator").chmod(0o755)
    with debian.no_services(policy):
        pass
    assert policy.read_text() == ANOTHER_POLICY
