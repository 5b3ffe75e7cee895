"""A board of notes: sessions, CORS, static files and templates.

Run it with `uvicorn examples.porting.board:app`.
"""

from contextlib import asynccontextmanager
from pathlib import Path

from hesper.applications import Hesper
from hesper.exceptions import HTTPException
from hesper.middleware import Middleware
from hesper.middleware.cors import CORSMiddleware
from hesper.middleware.gzip import GZipMiddleware
from hesper.middleware.sessions import SessionMiddleware
from hesper.responses import JSONResponse, RedirectResponse
from hesper.routing import Mount, Route
from hesper.staticfiles import StaticFiles
from hesper.templating import Jinja2Templates

HERE = Path(__file__).parent
templates = Jinja2Templates(directory=HERE / "templates")


@asynccontextmanager
async def lifespan(app):
    yield {"notes": [{"name": "Ada", "text": "The <first> note"}]}


async def board(request):
    context = {"name": request.session.get("name"), "notes": request.state.notes}
    return templates.TemplateResponse(request, "board.html", context)


async def login(request):
    async with request.form() as form:
        request.session["name"] = form["name"]
    return RedirectResponse(request.url_for("board"), status_code=303)


async def logout(request):
    request.session.clear()
    return RedirectResponse(request.url_for("board"), status_code=303)


async def add(request):
    name = request.session.get("name")
    if name is None:
        raise HTTPException(403, "Enter first.")
    async with request.form(max_part_size=10_000) as form:
        request.state.notes.append({"name": name, "text": form.get("text", "")})
    return RedirectResponse(request.url_for("board"), status_code=303)


async def notes(request):
    limit = int(request.query_params.get("limit", "10"))
    return JSONResponse(request.state.notes[-limit:])


async def note(request):
    try:
        return JSONResponse(request.state.notes[request.path_params["number"]])
    except IndexError:
        raise HTTPException(404) from None


async def missing(request, exc):
    return templates.TemplateResponse(request, "missing.html", status_code=404)


app = Hesper(
    routes=[
        Route("/", board),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout),
        Route("/notes", add, methods=["POST"]),
        Mount(
            "/api", routes=[Route("/notes", notes), Route("/notes/{number:int}", note)], name="api"
        ),
        Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
    ],
    middleware=[
        Middleware(CORSMiddleware, allow_origins=["https://example.org"], allow_methods=["GET"]),
        Middleware(SessionMiddleware, secret_key="not so secret"),
        Middleware(GZipMiddleware, minimum_size=1_000_000),
    ],
    exception_handlers={404: missing},
    lifespan=lifespan,
)
