"""What a resource says of its pods beyond the fields of its own: environment, files, pull secrets, a template to merge."""

import re
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, WithJsonSchema

from mcp_operator.api.common import ApiModel, DataSource, EnvVar, keyed_by, unique
from mcp_operator.api.constraints import Rule, keys_matching, literal, matching, one_of_fields
from mcp_operator.api.scalars import LABEL_KEY_MESSAGE, QUALIFIED_NAME, LabelValue, ObjectName

FILE_PATH: Final = r"^(/\.?[A-Za-z0-9_-][A-Za-z0-9._-]*){2,16}$"
TAKEN_FOLDERS: Final = (
    r"^/(bin|boot|dev|etc|home|lib|lib64|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)/[^/]+$"
    r"|^/(dev|proc|sys|mcp-bridge|opt/(node|uv|venv))/"
    r"|^/usr/(bin|lib|lib64|libexec|local|sbin|share)/[^/]+$|^/usr/local/(bin|lib|sbin|share)/[^/]+$|^/var/cache/mcp/[^/]+$"
)
"""Folders that hold what the image or the product lives on. A file's folder is a mount, which hides what is in it."""

FreeForm = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-map-type": "atomic"},
        mode="validation",
    ),
]
"""An object whose fields are not known here; whoever applies it replaces the whole of it."""

EnvList = Annotated[tuple[EnvVar, ...], Field(max_length=128, json_schema_extra=keyed_by("name")), unique("name")]


class DataRef(ApiModel):
    """A whole Secret or ConfigMap in the namespace of the resource that refers to it."""

    name: ObjectName
    """Name of the object."""
    optional: bool = False
    """Whether it may be missing."""


class EnvFrom(ApiModel):
    """All keys of a ConfigMap or a Secret as environment variables."""

    invariants = (
        Rule(
            one_of_fields("configMapRef", "secretRef"),
            "exactly one of configMapRef and secretRef must be set",
            lambda self: (self.config_map_ref is None) != (self.secret_ref is None),
        ),
    )

    config_map_ref: DataRef | None = None
    """The ConfigMap."""
    secret_ref: DataRef | None = None
    """The Secret."""
    prefix: (
        Annotated[
            str,
            StringConstraints(max_length=253),
            matching(
                r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", "must be letters, digits, '-', '_' and '.', not starting with a digit"
            ),
        ]
        | None
    ) = None
    """Put in front of every name."""


EnvFromList = Annotated[tuple[EnvFrom, ...], Field(max_length=32)]


class File(ApiModel):
    """A read-only file of a hosted server. A changed Secret or ConfigMap is in the file within seconds, without a restart."""

    path: Annotated[
        str,
        StringConstraints(max_length=256),
        matching(
            FILE_PATH,
            "must be an absolute path such as /etc/my-server/config.yaml: letters, digits, '.', '_' and '-', in a folder",
        ),
        Rule(
            f"!self.matches({literal(TAKEN_FOLDERS)})",
            "needs a folder of its own, such as /etc/my-server: what the image has in a file's folder is hidden",
            lambda path: re.search(TAKEN_FOLDERS, path) is None,
        ),
    ]
    """Where it appears. Its folder holds nothing but files that are declared here."""
    value_from: DataSource
    """Where its content stands."""


FileList = Annotated[tuple[File, ...], Field(max_length=64, json_schema_extra=keyed_by("path")), unique("path")]


class LocalRef(ApiModel):
    """An object of the same namespace."""

    name: ObjectName
    """Name of the object."""


PullSecretList = Annotated[
    tuple[LocalRef, ...], Field(max_length=16, json_schema_extra=keyed_by("name")), unique("name")
]


class PodTemplateMetadata(ApiModel):
    """Labels and annotations that the pods get besides the operator's own."""

    labels: Annotated[
        dict[Annotated[str, StringConstraints(max_length=317)], LabelValue],
        Field(max_length=64),
        keys_matching(QUALIFIED_NAME, f"each key {LABEL_KEY_MESSAGE}"),
    ] = Field(default_factory=dict)
    """Labels of the pods."""
    annotations: Annotated[
        dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, StringConstraints(max_length=16384)]],
        Field(max_length=64),
        keys_matching(QUALIFIED_NAME, f"each key {LABEL_KEY_MESSAGE}"),
    ] = Field(default_factory=dict)
    """Annotations of the pods."""


class PodTemplate(ApiModel):
    """Merged over the generated pod template as a strategic merge patch: containers, volumes, env and the like by their name."""

    metadata: PodTemplateMetadata = PodTemplateMetadata()
    """Labels and annotations that the pods get besides the operator's own."""
    spec: FreeForm = Field(default_factory=dict)
    """A partial PodSpec (core/v1): nodeSelector, tolerations, volumes, sidecars, securityContext, …"""

    def patch(self) -> dict[str, Any]:
        """What is said, in the API's shape, without what is not."""
        parts = {"labels": self.metadata.labels, "annotations": self.metadata.annotations}
        metadata = {name: dict(part) for name, part in parts.items() if part}
        return {name: part for name, part in {"metadata": metadata, "spec": self.spec}.items() if part}
