"""Logging in and out: a plain form, a cookie that scripts cannot read, and patience with wrong tokens."""

import asyncio
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from aquilamed.web.access import COOKIE, Settings, issue, matches
from aquilamed.web.site import render
from aquilamed.web.text import LANGUAGES, Text, preferred

_PAUSE = 0.5  # seconds after a wrong token; tokens are long, so that this is enough against guessing


def login_routes(settings: Settings) -> list[BaseRoute]:
    """`/login` (the form and what it sends), `/logout`, `/language/{code}` (the switch)."""

    async def login(request: Request) -> Response:
        text = Text(preferred(request.headers.get("accept-language", ""), request.cookies))
        wrong = False
        if request.method == "POST":
            form = parse_qs((await request.body()).decode("utf-8", "replace"))
            name, token = (form.get(key, [""])[0].strip() for key in ("name", "token"))
            if matches(settings, name, token):
                answer = RedirectResponse("/", 303)
                secure = request.url.scheme == "https"
                answer.set_cookie(
                    COOKIE, issue(settings, name), settings.lifetime, httponly=True, samesite="strict", secure=secure
                )
                return answer
            wrong = True
            await asyncio.sleep(_PAUSE)
        return HTMLResponse(render("login.html.j2", text=text, wrong=wrong), 401 if wrong else 200)

    async def logout(request: Request) -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer

    async def language(request: Request) -> Response:
        code, page = request.path_params["code"], request.query_params.get("page", "")
        code = code if code in LANGUAGES else "en"
        answer = RedirectResponse(f"/{code}/{page if page.isalpha() else ''}", 303)
        answer.set_cookie("language", code, 365 * 86400, samesite="lax")
        return answer

    return [
        Route("/login", login, methods=["GET", "POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/language/{code}", language),
    ]
