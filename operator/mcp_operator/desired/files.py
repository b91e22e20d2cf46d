"""Files of a hosted server: a projected volume for each folder, which the kubelet renews in running pods."""

from collections import defaultdict
from pathlib import PurePosixPath

from mcp_operator.api.pods import File
from mcp_operator.api.resources import McpServer
from mcp_operator.compile.lookup import key_of
from mcp_operator.desired.common import Object
from mcp_operator.desired.containers import Workload


def with_files(workload: Workload, server: McpServer) -> Workload:
    """The workload with the declared files at their paths in the container `server`."""
    hosted = server.spec.container or server.spec.stdio
    folders = by_folder(hosted.files if hosted else ())
    volumes: list[Object] = []
    mounts: list[Object] = []
    for number, (folder, files) in enumerate(folders.items()):
        name = f"files-{number}"
        volumes.append(
            {"name": name, "projected": {"defaultMode": 0o444, "sources": [_source(*file) for file in files]}}
        )
        mounts.append({"name": name, "mountPath": folder, "readOnly": True})
    return workload.mounting(volumes, mounts)


def by_folder(files: tuple[File, ...]) -> dict[str, list[tuple[str, File]]]:
    """Files with their paths below a folder, by folder and path. No folder is inside another one: a mount in a read-only mount
    has no place to stand on."""
    paths = {PurePosixPath(file.path): file for file in files}
    parents = {path.parent for path in paths}
    found: defaultdict[str, list[tuple[str, File]]] = defaultdict(list)
    for path in sorted(paths):
        top = min((folder for folder in path.parents if folder in parents), key=lambda folder: len(folder.parts))
        found[str(top)].append((str(path.relative_to(top)), paths[path]))
    return dict(sorted(found.items()))


def _source(path: str, file: File) -> Object:
    kind, ref = key_of(file.value_from)
    about = {"name": ref.name, "items": [{"key": ref.key, "path": path}]}
    return {"secret": about} if kind == "Secret" else {"configMap": about}
