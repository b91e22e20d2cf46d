"""The page: its headers, its parts, and what is said where it was not built."""

from pathlib import Path

import pytest

from mcp_operator_proxy.inspector.pages import NOT_BUILT, POLICY, Pages

from .conftest import AUTH, SECRETS, Inspect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "favicon.svg").write_text("<svg/>")
    (tmp_path / "assets" / "app-1a2b.js").write_text("export {};")
    return tmp_path


async def test_a_page_for_whoever_opens_it(inspecting: Inspect, folder: Path) -> None:
    async with inspecting({}, SECRETS, **AUTH) as gateway:
        gateway.proxy.services.inspector._pages = Pages(folder)
        for path in ("/ui", "/ui/", "/ui/servers/ns/calc", "/ui/tools?q=x.y"):
            page = await gateway.get(path)
            assert (page.status_code, "<title>page" in page.text) == (200, True), path
            assert page.headers["content-security-policy"] == POLICY
            assert page.headers["cache-control"] == "no-cache"
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["referrer-policy"] == "no-referrer"
        again = await gateway.get("/ui", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        part = await gateway.get("/ui/assets/app-1a2b.js")
        assert part.headers["content-type"].startswith("text/javascript")
        assert part.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (await gateway.get("/ui/favicon.svg")).text == "<svg/>"
        assert (await gateway.http.head(f"{gateway.base}/ui")).status_code == 200
        assert (await gateway.get("/ui/assets/app-old.js")).status_code == 404
        assert (await gateway.http.post(f"{gateway.base}/ui")).status_code == 405
        for status, headers in (
            (206, {"range": "bytes=0-1"}),
            (416, {"range": "bytes=900-"}),
            (400, {"range": "bytes=x"}),
            (403, {"origin": "https://evil.example"}),
        ):
            answer = await gateway.get("/ui/assets/app-1a2b.js", headers=headers)
            assert (answer.status_code, answer.headers["content-security-policy"]) == (status, POLICY)
            assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/ui/../../etc/passwd", "/ui/assets/..%2f..%2fsecret", "/ui/%2e%2e/secret", "/ui/x%00y"]
)
async def test_nothing_outside_of_its_folder_is_served(inspecting: Inspect, folder: Path, path: str) -> None:
    (folder.parent / "secret").write_text("secret")
    async with inspecting({}) as gateway:
        gateway.proxy.services.inspector._pages = Pages(folder)
        answer = await gateway.get(path)
        assert answer.text != "secret"
        assert "root:" not in answer.text
        assert answer.status_code in (200, 400, 404)


async def test_where_it_was_not_built(inspecting: Inspect, tmp_path: Path) -> None:
    async with inspecting({}) as gateway:
        gateway.proxy.services.inspector._pages = Pages(tmp_path / "none")
        answer = await gateway.get("/ui")
        assert (answer.status_code, answer.text) == (503, NOT_BUILT)
        assert (await gateway.get("/ui/api/me")).status_code == 200
