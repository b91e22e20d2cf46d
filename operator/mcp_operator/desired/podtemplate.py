"""A user's `podTemplate` merged over the generated one: strategic merge patch, with what the product rests on protected.

Lists whose elements have a key are merged by it, as `kubectl patch` does for a Pod; other lists are replaced; a null removes a
field, `$patch: delete` an element, `$patch: replace` replaces instead of merging.
Source: "Update API Objects in Place Using kubectl patch", and the patchMergeKey tags of core/v1 PodSpec.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mcp_operator.api import meta

Template = dict[str, Any]

MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "schedulingGates": "name",
    "resourceClaims": "name",
}
"""Lists of a pod template that are merged element by element, and the key of their elements."""
HANDLERS: Final = frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"})
"""How a probe asks or a hook acts: exactly one of them may be set, so another one takes the place of the generated one."""
_HANDLED: Final = frozenset({"livenessProbe", "postStart", "preStop", "readinessProbe", "startupProbe"})
_OWN_FIELDS: Final = ("image", "command", "args")
"""What of a generated container the resource itself says, or the product."""
_OWN_ENV: Final = "MCP_"
_DIRECTIVE: Final = "$patch"
_WHERE: Final = "spec.podTemplate"


class PodTemplateRefused(ValueError):
    """The podTemplate is malformed, or takes away what the product rests on. The text names the field, no value."""


def merged(generated: Mapping[str, Any], user: Mapping[str, Any] | None) -> Template:
    """`generated` (a pod template: metadata, spec) with `user` (the same shape) over it; neither is changed.

    Raises PodTemplateRefused.
    """
    result = _merged_map(generated, user or {}, _WHERE, "")
    _check_metadata(generated, result)
    for kind in ("containers", "initContainers"):
        _check_containers(generated, result, kind)
    _check_volumes(generated, result)
    return result


def _merged_map(base: Mapping[str, Any], patch: Any, where: str, field: str) -> Template:
    if not isinstance(patch, Mapping):
        raise PodTemplateRefused(f"{where} must be an object")
    directive = _directive(patch, where)
    own = {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        raise PodTemplateRefused(f"{where}: $patch: delete is for elements of a list; set a field to null to remove it")
    kept = {} if directive == "replace" else _compatible(base, own, field)
    result = {key: value for key, value in kept.items() if own.get(key, ...) is not None}
    for key, value in own.items():
        if value is not None:
            result[key] = _merged(kept.get(key), value, f"{where}.{key}", key)
    return result


def _merged(base: Any, patch: Any, where: str, field: str) -> Any:
    if isinstance(base, list) and not isinstance(patch, list):
        raise PodTemplateRefused(f"{where} must be a list")
    if field in MERGE_KEYS and isinstance(patch, list):  # a label may have such a name too
        return _merged_list(base or [], patch, where, field)
    if isinstance(patch, Mapping) or isinstance(base, Mapping):
        return _merged_map(base or {}, patch, where, field)
    return patch


def _merged_list(base: Sequence[Any], patch: Sequence[Any], where: str, field: str) -> list[Any]:
    """The generated elements in their order, then the new ones."""
    key = MERGE_KEYS[field]
    if any(isinstance(item, Mapping) and item.keys() == {_DIRECTIVE} for item in patch):
        base = _replaced_wholly(patch, where)
        patch = [item for item in patch if not (isinstance(item, Mapping) and item.keys() == {_DIRECTIVE})]
    result = list(base)
    for index, item in enumerate(patch):
        at = f"{where}[{index}]"
        if not isinstance(item, Mapping) or item.get(key) is None:
            raise PodTemplateRefused(f"{at} needs {key}: elements are merged by it")
        place = next((place for place, one in enumerate(result) if _same(one, item, key)), None)
        directive = _directive(item, at)
        own = {name: value for name, value in item.items() if name != _DIRECTIVE}
        if directive == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(_merged_map({}, own, at, field))
        else:
            result[place] = _merged_map({} if directive == "replace" else result[place], own, at, field)
    return result


def _same(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    """Whether two elements are one. A port may be open for TCP and for UDP."""
    return bool(one.get(key) == other[key] and one.get("protocol", "TCP") == other.get("protocol", "TCP"))


def _replaced_wholly(patch: Sequence[Any], where: str) -> list[Any]:
    """`- $patch: replace` as an element of its own: nothing of the generated list stays."""
    for item in patch:
        if isinstance(item, Mapping) and item.keys() == {_DIRECTIVE} and item[_DIRECTIVE] != "replace":
            raise PodTemplateRefused(f"{where}: an element that is only a directive can say $patch: replace alone")
    return []


def _compatible(base: Mapping[str, Any], patch: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """Of the generated object what may stand beside the patch: of a union, nothing where the patch chooses another member."""
    if field == "env":
        sources = {"value", "valueFrom"} & patch.keys()
        return {key: value for key, value in base.items() if key == "name" or not sources}
    if field == "volumes":
        sources = patch.keys() - {"name"}
        return {key: value for key, value in base.items() if key == "name" or not sources or key in sources}
    if field in _HANDLED and (chosen := HANDLERS & patch.keys()):
        return {key: value for key, value in base.items() if key not in HANDLERS or key in chosen}
    return base


def _directive(patch: Mapping[str, Any], where: str) -> str:
    directive = patch.get(_DIRECTIVE, "merge")
    if directive not in {"merge", "replace", "delete"}:
        raise PodTemplateRefused(f"{where}: $patch is merge, replace or delete")
    if other := next((key for key in patch if str(key).startswith("$") and key != _DIRECTIVE), None):
        raise PodTemplateRefused(f"{where}: the directive {other} is not known here")
    return str(directive)


def _check_metadata(generated: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    for part in ("labels", "annotations"):
        before = generated.get("metadata", {}).get(part) or {}
        after = result.get("metadata", {}).get(part) or {}
        for key in before.keys() | {key for key in after if str(key).startswith(f"{meta.GROUP}/")}:
            if before.get(key) != after.get(key):
                raise PodTemplateRefused(f"{_WHERE}.metadata.{part}: {key} is the operator's own")
    if others := sorted(result.get("metadata", {}).keys() - {"labels", "annotations"}):
        raise PodTemplateRefused(f"{_WHERE}.metadata has labels and annotations alone, not {others[0]}")


def _check_containers(generated: Mapping[str, Any], result: Mapping[str, Any], kind: str) -> None:
    """Generated containers still run what they shall, with their ports, their mounts and the product's own variables."""
    after = {container["name"]: container for container in _listed(result, kind)}
    for container in _listed(generated, kind):
        name = container["name"]
        where = f"{_WHERE}.spec.{kind}: the container {name}"
        found = after.get(name)
        if found is None:
            raise PodTemplateRefused(f"{where} can't be removed")
        for field in _OWN_FIELDS:
            if container.get(field) != found.get(field):
                raise PodTemplateRefused(f"{where} gets its {field} from the resource, not from podTemplate")
        for field in ("ports", "volumeMounts"):
            if any(item not in (found.get(field) or []) for item in container.get(field) or []):
                raise PodTemplateRefused(f"{where} needs its own {field}: add others, change none of them")
        own = [item for item in container.get("env") or [] if item["name"].startswith(_OWN_ENV)]
        if lost := [item["name"] for item in own if item not in (found.get("env") or [])]:
            raise PodTemplateRefused(f"{where} needs the variable {lost[0]} as it is")


def _check_volumes(generated: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Config, secrets and files come from where they stand. What is empty at the start may be any volume of the user's."""
    after = {volume["name"]: volume for volume in _listed(result, "volumes")}
    for volume in _listed(generated, "volumes"):
        found = after.get(volume["name"])
        if found is None or ("emptyDir" not in volume and found != volume):
            raise PodTemplateRefused(f"{_WHERE}.spec.volumes: the volume {volume['name']} is the operator's own")


def _listed(template: Mapping[str, Any], field: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = template.get("spec", {}).get(field) or []
    return found
