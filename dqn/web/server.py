"""The pages of ``watch``: static files and a websocket for each open page, for this machine alone.

A page of another origin, or a name that leads here from elsewhere (DNS rebinding), is refused.
Nothing is written.
"""

import asyncio
import contextlib
import queue
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from dqn.web.messages import MAX_BYTES, UnknownMessage, parse
from dqn.web.player import Player, WatchedRun

STATIC = Path(__file__).parent / "static"

MAX_PLAYERS = 16
"""Games at once; each open page has one for each tab that was opened."""

AHEAD = 2
"""Moments sent before the page has drawn the first of them."""

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Watch:
    """The application: every websocket gets a player of its own."""

    def __init__(self, runs: list[WatchedRun], seed: int, port: int) -> None:
        self._by_number = {str(number): run for number, run in enumerate(runs)}
        self._seed = seed
        self._players: list[Player] = []
        routes = [
            Route("/", self._page),
            Route("/runs", self._names),
            WebSocketRoute("/play/{number}", self._session),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
        self.app: ASGIApp = LoopbackOnly(Starlette(routes=routes), port)

    def server(self) -> uvicorn.Server:
        """A server of it, to be run on a socket."""
        config = uvicorn.Config(
            self.app,
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            ws_max_size=MAX_BYTES,
            ws_per_message_deflate=False,  # nearly all is PNG
            timeout_graceful_shutdown=1,
        )
        return uvicorn.Server(config)

    def close(self) -> None:
        """End every game, and wait for it: a process that ends while one of its threads computes
        is aborted."""
        for player in self._players:
            player.stop()
        for player in self._players:
            player.join(timeout=10)

    async def _page(self, _: Request) -> FileResponse:
        return FileResponse(STATIC / "watch.html")

    async def _names(self, _: Request) -> JSONResponse:
        return JSONResponse([run.name for run in self._by_number.values()])

    async def _session(self, websocket: WebSocket) -> None:
        run = self._by_number.get(websocket.path_params["number"])
        await websocket.accept()
        if run is None:
            return await websocket.close(1008, "there is no such run")
        self._players = [player for player in self._players if player.is_alive()]
        if len(self._players) >= MAX_PLAYERS:
            return await websocket.close(1013, f"{MAX_PLAYERS} games are open; close another page")
        session = Session(websocket, run, self._seed)
        session.player.start()
        self._players.append(session.player)
        try:
            await session.run()
        finally:
            session.player.stop()
        return None


class Session:
    """A websocket and its player."""

    def __init__(self, websocket: WebSocket, run: WatchedRun, seed: int) -> None:
        loop, self._event = asyncio.get_running_loop(), asyncio.Event()

        def on_moment() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._event.set)

        self.player = Player(run, seed, on_moment)
        self._websocket = websocket
        self._ahead = 0

    async def run(self) -> None:
        """Until either side closes the connection."""
        sending = asyncio.create_task(self._send())
        try:
            await self._receive()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)  # the page may be gone

    async def _send(self) -> None:
        """Send the newest moment whenever the page has drawn an earlier one."""
        while True:
            self._event.clear()
            if self._ahead < AHEAD and (moment := await asyncio.to_thread(self.player.take)):
                self._ahead += 1
                await self._websocket.send_bytes(moment)
            elif self.player.failure:
                reason = self.player.failure.encode()[:120].decode(errors="ignore")
                await self._websocket.close(1011, reason)
                return
            else:
                await self._event.wait()

    async def _receive(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if refusal := self._obey(message):
                await self._websocket.close(*refusal)
                return

    def _obey(self, message: Message) -> tuple[int, str] | None:
        """Pass a command on; returns the code and reason to close with if it is none."""
        if message.get("text") is None:
            return 1003, "commands are texts"
        try:
            command = parse(message["text"])
            if command.name != "drawn":
                self.player.ask(command)
        except UnknownMessage as error:
            return 1008, str(error)
        except queue.Full:
            return 1008, "too many commands"
        if command.name == "drawn":
            self._ahead = max(0, self._ahead - 1)
            self._event.set()
        return None


class LoopbackOnly:
    """Answers requests of this machine's own pages; refuses others with status 403."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        names = ("127.0.0.1", "localhost")
        self._hosts = {f"{name}:{port}" for name in names} | set(names if port == 80 else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        if self._allowed(Headers(scope=scope)):
            await self._app(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: status 403
        else:
            refusal = PlainTextResponse("This page is for this machine only.\n", 403)
            await refusal(scope, receive, send_with_headers)

    def _allowed(self, headers: Headers) -> bool:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        return (
            len(hosts) == 1
            and hosts[0] in self._hosts
            and all(origin == f"http://{hosts[0]}" for origin in origins)
        )
