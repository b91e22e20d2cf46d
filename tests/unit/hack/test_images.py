"""Builds of images: command lines, lists, and the machine's settings."""

from pathlib import Path

import pytest

from images import base, catalogue, machine
from images.build import Image, archive_path, buildah_options, check, docker_options
from localcluster.errors import ClusterError

IMAGE = Image("mcp-operator/proxy:dev", Path("/r/proxy/Dockerfile"), Path("/r"), "runner", ("VERSION=1",))


def test_buildah_gets_base_stage_arguments_and_mounts() -> None:
    mounts = [
        machine.Mount(Path("/t/certs"), "/etc/ssl/certs", writable=True),
        machine.Mount(Path("/t/p"), "/etc/pip.conf"),
    ]
    options = buildah_options(IMAGE, "localhost/base:1", mounts, "/t/id")
    assert options[0] == "build"
    assert options[-1] == "/r"
    assert {
        "--isolation=chroot",
        "--layers",
        "--tag=localhost/mcp-operator/proxy:dev",
        "--volume=/t/certs:/etc/ssl/certs",
        "--volume=/t/p:/etc/pip.conf:ro",
        "--build-arg=BASE=localhost/base:1",
        "--build-arg=VERSION=1",
        "--target=runner",
        "--file=/r/proxy/Dockerfile",
    } <= set(options)


def test_a_base_that_is_given_wins() -> None:
    image = Image("x:dev", Path("/r/Dockerfile"), Path("/r"), arguments=("BASE=mine",))
    bases = [option for option in buildah_options(image, "localhost/base:1", [], "/t/id") if "BASE=" in option]
    assert bases == ["--build-arg=BASE=mine"]


def test_docker_uses_the_dockerfiles_own_base() -> None:
    options = docker_options(IMAGE)
    assert options == [
        "build",
        "--tag=mcp-operator/proxy:dev",
        "--file=/r/proxy/Dockerfile",
        "--target=runner",
        "--build-arg=VERSION=1",
        "/r",
    ]


def test_archive_names_are_file_names(tmp_path: Path) -> None:
    assert archive_path(tmp_path, IMAGE).name == "mcp-operator_proxy_dev.tar"


@pytest.mark.parametrize(
    ("dockerfile", "message"), [("absent", "there is no Dockerfile"), ("Dockerfile", "is no folder")]
)
def test_absent_inputs_are_named(tmp_path: Path, dockerfile: str, message: str) -> None:
    (tmp_path / "Dockerfile").touch()
    with pytest.raises(ClusterError, match=message):
        check(Image("x:dev", tmp_path / dockerfile, tmp_path / "absent"))


def test_base_key_depends_on_the_machine() -> None:
    assert base.key("x86_64") == base.key("x86_64")
    assert base.key("x86_64") != base.key("aarch64")


def test_committed_list_is_valid_and_names_are_unique() -> None:
    images = catalogue.parse(catalogue.LIST.read_text(), Path("/r"))
    assert len({image.name for image in images}) == len(images) > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[image]]\nname = "x"\n', "missing .*context.*dockerfile"),
        ('[[image]]\nname = "x"\ndockerfile = "d"\ncontext = "."\ntargett = "y"\n', "unknown .*targett"),
    ],
)
def test_wrong_entries_are_named(text: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        catalogue.parse(text, Path("/r"))


def test_test_images_are_found_by_their_dockerfiles(tmp_path: Path) -> None:
    for name in ("beta", "alpha"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").touch()
    (tmp_path / "no-image").mkdir()
    assert [image.name for image in catalogue.test_images(tmp_path)] == [
        "mcp-operator-test/alpha:dev",
        "mcp-operator-test/beta:dev",
    ]


PIP_LISTING = """:env:.cert='/etc/x.crt'
:env:.find-links='/opt/wheels'
global.index-url='https://mirror.example/simple'
global.timeout='60'
install.trusted-host='mirror.example'
list.format='columns'
"""


def test_pip_settings_that_say_where_packages_come_from() -> None:
    assert machine.parse_pip_settings(PIP_LISTING) == {
        "index-url": "https://mirror.example/simple",
        "timeout": "60",
        "trusted-host": "mirror.example",
        "find-links": "/opt/wheels",
    }


def test_the_environment_wins_over_files() -> None:
    listing = ":env:.index-url='https://env.example'\nglobal.index-url='https://file.example'\n"
    assert machine.parse_pip_settings(listing) == {"index-url": "https://env.example"}


def test_folders_without_wheels_are_dropped(tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "a.whl").touch()
    settings = {"find-links": f"{empty} {full} https://links.example {tmp_path / 'absent'}", "timeout": "1"}
    assert machine.drop_empty_folders(settings) == {"find-links": f"{full} https://links.example", "timeout": "1"}
    assert machine.drop_empty_folders({"find-links": str(empty)}) == {}


def test_pip_needs_no_config_where_the_machine_has_no_sources_of_its_own() -> None:
    assert machine.pip_config({"timeout": "60"}) is None
    assert machine.pip_config({"index-url": "https://m.example"}) == "[global]\nindex-url = https://m.example\n"


def test_uv_trusts_the_system() -> None:
    assert machine.uv_config({}) == "native-tls = true\n"
    assert 'index-url = "https://m.example"' in machine.uv_config({"index-url": "https://m.example"})


def test_apt_settings_are_only_those_about_reaching_packages() -> None:
    dump = 'APT "";\nAcquire::http::Proxy "http://p:3128";\nAcquire::Languages "";\nAcquire::Check-Date "false";\n'
    assert machine.apt_config(dump) == 'Acquire::http::Proxy "http://p:3128";\nAcquire::Check-Date "false";\n'
    assert machine.apt_config('APT "";\n') is None


def test_settings_are_written_where_a_build_can_read_them(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("authorities")
    folder = tmp_path / "private"
    folder.mkdir()
    found = {mount.target: mount for mount in machine.mounts(folder, {"SSL_CERT_FILE": str(bundle)})}
    certificates = found["/etc/ssl/certs"]
    assert certificates.writable
    assert (certificates.source / machine.BUNDLE).read_text() == "authorities"
    assert found["/etc/uv/uv.toml"].source.read_text().startswith("native-tls")
    assert bundle.read_text() == "authorities"


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("", None),
        ("no JSON", None),
        ('{"registry": null}', None),
        ('{"registry": "https://npm.example.com/all/"}', "registry=https://npm.example.com/all/\n"),
        ('{"registry": "https://user:password@npm.example.com/"}', None),
    ],
)
def test_npm_gets_the_machines_registry_but_no_credential(listing: str, expected: str | None) -> None:
    assert machine.npm_config(listing) == expected
