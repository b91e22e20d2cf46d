"""The command line: `hack/image COMMAND`."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from images import base, catalogue, previous, storage
from images.build import Image, archive_path, build
from localcluster import lifecycle, operations
from localcluster.errors import ClusterError
from localcluster.ladder import Rung, choose
from localcluster.paths import Paths, from_environment
from localcluster.progress import say


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="hack/image", description="Builds images and loads them (docs/local-cluster.md)."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("build", help="build an image, print its archive's path, load it where a cluster runs")
    one.add_argument("name")
    one.add_argument("dockerfile", type=Path)
    one.add_argument("context", type=Path)
    one.add_argument("--target", default="", help="the stage to build (default: the last)")
    one.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    some = commands.add_parser("build-all", help="the same for the project's images, or for those named")
    some.add_argument("names", nargs="*")
    before = commands.add_parser("build-previous", help="the same for the version that tests upgrade from")
    for command in (one, some, before):
        command.add_argument("--no-load", action="store_true", help="build only")
    commands.add_parser("base", help="make the base image and print its name")
    commands.add_parser("list", help="print the project's images and their archives")
    commands.add_parser("clean", help="remove every image, layer and archive from the cache")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors that the user can act on are one message and exit status 1."""
    options = parser().parse_args(arguments)
    paths = from_environment(os.environ)
    try:
        _dispatch(options, paths)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    return 0


def _dispatch(options: argparse.Namespace, paths: Paths) -> None:
    match options.command:
        case "build":
            image = Image(
                options.name,
                options.dockerfile.resolve(),
                options.context.resolve(),
                options.target,
                tuple(options.build_arg),
            )
            _build_and_load(paths, [image], load=not options.no_load)
        case "build-all":
            _build_and_load(paths, _chosen(options.names), load=not options.no_load)
        case "build-previous":
            _build_and_load(paths, previous.images(paths.cache), load=not options.no_load)
        case "base":
            print(base.provide(paths.cache))
        case "list":
            print("\n".join(f"{image.name} {archive_path(paths.cache, image)}" for image in catalogue.everything()))
        case "clean":
            shutil.rmtree(storage.folder(paths.cache))


def _chosen(names: Sequence[str]) -> list[Image]:
    known = {image.name: image for image in catalogue.everything()}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ClusterError(f"unknown images: {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in names or known]


def _build_and_load(paths: Paths, images: Iterable[Image], *, load: bool) -> None:
    archives = [build(image, paths.cache) for image in images]
    if load and (choose(os.environ, paths) is not Rung.LOCAL or lifecycle.running(paths) is not None):
        operations.load(paths, archives)
    for archive in archives:
        print(archive)


if __name__ == "__main__":
    sys.exit(main())
