"""Who gets in: tokens, the login, the guard before every request."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from serving import served

from aquilamed.config import Invalid
from aquilamed.listening import is_loopback
from aquilamed.web import serve
from aquilamed.web.access import Settings, cookie_user, issue, read_tokens
from aquilamed.web.files import inside
from aquilamed.workspace import Workspace

TOKEN, OTHER = "a-token-of-doctor-wang", "a-token-of-doctor-meier"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def ask(
    site: str, path: str, method: str = "GET", body: str | bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request with the path as it stands: no client tidies it up."""
    connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=10)
    connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def test_tokens_from_the_environment_or_a_private_file(tmp_path: Path) -> None:
    assert read_tokens(tmp_path, {}) == {}
    assert read_tokens(tmp_path, {"AQUILAMED_WEB_TOKENS": f"wang:{TOKEN}, meier:{OTHER}"}) == {
        "wang": TOKEN,
        "meier": OTHER,
    }
    file = tmp_path / "web-tokens"
    file.write_text(f"# doctors\n\nwang {TOKEN}\n王医生 {OTHER}\n", encoding="utf-8")
    file.chmod(0o644)
    with pytest.raises(Invalid, match="chmod 600"):
        read_tokens(tmp_path, {})
    file.chmod(0o600)
    assert read_tokens(tmp_path, {}) == {"wang": TOKEN, "王医生": OTHER}


@pytest.mark.parametrize(
    "line", ["wang short", f"<b> {TOKEN}", f"local {TOKEN}", TOKEN, f"w {TOKEN} more", f"w {TOKEN}\nw {OTHER}"]
)
def test_a_bad_line_is_named_and_its_token_is_not(tmp_path: Path, line: str) -> None:
    file = tmp_path / "web-tokens"
    file.write_text(line + "\n", encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(Invalid, match=r"line \d") as error:
        read_tokens(tmp_path, {})
    assert OTHER not in str(error.value)
    assert line == TOKEN or TOKEN not in str(error.value)


def test_other_machines_need_tokens(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AQUILAMED_WEB_TOKENS", raising=False)
    with pytest.raises(Invalid, match="must log in"):
        serve(str(workspace.root), "0.0.0.0", 0, browser=False)
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")
    assert is_loopback("::1")


def test_an_address_in_use_is_said(workspace: Workspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Invalid, match="choose another"):
        serve(str(workspace.root), "127.0.0.1", taken.getsockname()[1], browser=False)


def test_a_cookie_holds_until_its_token_changes() -> None:
    settings = Settings(tokens={"wang": TOKEN})
    cookie = issue(settings, "wang")
    assert cookie_user(settings, cookie) == "wang"
    assert TOKEN not in cookie
    assert TOKEN not in repr(settings)
    assert cookie_user(Settings(tokens={"wang": OTHER}), cookie) is None
    assert cookie_user(Settings(tokens={"wang": TOKEN, "meier": OTHER}), cookie.replace("wang", "meier")) is None
    assert cookie_user(settings, issue(Settings(tokens={"wang": TOKEN}, lifetime=-1), "wang")) is None
    assert cookie_user(settings, "wang:²:x") is None


def test_login_is_asked_of_everybody_where_there_are_tokens(workspace: Workspace) -> None:
    with served(workspace, Settings(tokens={"wang": TOKEN})) as site:
        assert ask(site, "/en/", Accept="text/html")[:2][1]["location"] == "/login"
        assert ask(site, "/en/theme.css")[0] == 401
        assert ask(site, "/login")[0] == 200
        sent = f"name=wang&token={TOKEN}"
        assert ask(site, "/login", "POST", sent, **FORM)[0] == 403  # no page of ours sent it
        assert ask(site, "/login", "POST", sent, Origin="https://evil.example", **FORM)[0] == 403
        assert ask(site, "/login", "POST", "name=wang&token=wrong", Origin=site, **FORM)[0] == 401
        status, headers, _ = ask(site, "/login", "POST", sent, Origin=site, **FORM)
        assert status == 303
        assert {"HttpOnly", "SameSite=strict"} <= set(headers["set-cookie"].split("; "))
        cookie = headers["set-cookie"].split(";")[0]
        status, _, page = ask(site, "/en/", Cookie=cookie)
        assert status == 200
        assert TOKEN.encode() not in page
        assert ask(site, "/logout", "POST", Cookie=cookie)[0] == 403
        assert "Max-Age=0" in ask(site, "/logout", "POST", Cookie=cookie, Origin=site)[1]["set-cookie"]


def test_only_our_own_name_and_pages(site: str) -> None:
    assert ask(site, "/en/", Host="evil.example")[0] == 421
    join = "/en/gradio_api/queue/join"
    assert ask(site, join, "POST", "{}", Origin="http://evil.example")[0] == 403
    assert ask(site, join, "POST", "{}", Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(site, join, "POST", "{}", Origin=site, Content_Type="application/json")[0] == 422  # Gradio's own answer
    assert ask(site, "/en/", "PUT", "x", Origin=site)[0] == 405


def test_bodies_have_a_limit(site: str) -> None:
    join = "/en/gradio_api/queue/join"
    assert ask(site, join, "POST", json.dumps({"data": ["x" * (1 << 20)]}), Origin=site)[0] == 413
    pieces: Any = iter([b"x" * (1 << 19)] * 4)  # sent in chunks: no length is told
    assert ask(site, join, "POST", pieces, Origin=site, Content_Type="application/json")[0] == 400
    assert ask(site, "/health")[0] == 200


def test_no_file_is_served(site: str, workspace: Workspace) -> None:
    secret = workspace.root / "web-tokens.txt"
    secret.write_text("in the workspace, for nobody")
    (workspace.root / "link").symlink_to("/etc")
    places = [str(secret), "/etc/passwd", f"{workspace.root}/link/passwd", "recipe.yaml"]
    prefixes = [
        "gradio_api/file=",
        "file=",
        "file/",
        "gradio_api/file/",
        "static/",
        "assets/",
        "static/..%2f",
        "gradio_api/proxy=http://",
    ]
    for place in places:
        for prefix in prefixes:
            for path in (f"/en/{prefix}{place}", f"/en/{prefix}{place.replace('/', '%2f')}", f"/{prefix}{place}"):
                status, _, body = ask(site, path)
                assert status in (400, 403, 404), path
                assert b"nobody" not in body
                assert b"root:" not in body
    for path in (
        "../recipe.yaml",
        "%2e%2e/recipe.yaml",
        "static/%2e%2e/%2e%2e/routes.py",
        "assets/..%5c..%5croutes.py",
        "static//etc/passwd",
    ):
        assert ask(site, f"/en/{path}")[0] == 404, path
    for path in ("gradio_api/upload", "upload", "gradio_api/component_server", "gradio_api/run/predict"):
        assert ask(site, f"/en/{path}", "POST", "x", Origin=site)[0] == 404, path
    for path in ("/docs", "/openapi.json", "/en/gradio_api/openapi.json", "/en/monitoring", "/en/login"):
        assert ask(site, path)[0] == 404, path


def test_headers(site: str) -> None:
    status, headers, page = ask(site, "/zh/")
    assert status == 200
    nonce = headers["content-security-policy"].split("'nonce-")[1].split("'")[0]
    assert "unsafe-inline" not in headers["content-security-policy"].split("style-src")[0]
    assert page.count(b"<script") == page.count(f'<script nonce="{nonce}"'.encode()) > 0
    assert nonce not in ask(site, "/zh/")[1]["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert b'lang="zh-CN"' in page


def test_without_the_extra_it_says_what_to_install(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Invalid, match=r"pip install 'aquilamed\[web\]'"):
        serve(str(workspace.root), "127.0.0.1", 0, browser=False)


def test_a_link_never_leads_out_of_the_workspace(tmp_path: Path) -> None:
    root, outer = tmp_path / "space", tmp_path / "outer"
    for folder in (root / "report", outer):
        folder.mkdir(parents=True)
        (folder / "index.html").write_text("x")
    (root / "linked").symlink_to(outer)
    (root / "alias").symlink_to(root / "report")
    assert inside(root, "report/index.html") == root / "report" / "index.html"
    assert inside(root, "alias/index.html") == root / "report" / "index.html"
    for name in ("linked/index.html", "../outer/index.html", "report", "absent.html", str(outer / "index.html")):
        assert inside(root, name) is None, name
