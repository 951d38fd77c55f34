"""A vision model's server that speaks both Ollama's API and the OpenAI-compatible one, over a real socket.

It looks at the picture that it is sent: its answer names the picture's size and the prompt.
"""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image

from loopback_server import LoopbackServer


@dataclass
class VisionKnobs:
    """How it misbehaves. `stops_after` is the number of words after which the stream breaks off."""

    key: str | None = None
    error: str | None = None
    status: int = 500
    error_in_stream: str | None = None
    stops_after: int | None = None
    cut_at_length: bool = False
    word_s: float = 0.0


@dataclass
class Vision:
    url: str = ""
    knobs: VisionKnobs = field(default_factory=VisionKnobs)
    models: dict[str, bool] = field(default_factory=lambda: {"llava:latest": True, "llama3:latest": False})
    loaded: list[str] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)
    hung_up: int = 0

    def words(self, prompt: str, picture: str) -> list[str]:
        image = Image.open(io.BytesIO(base64.b64decode(picture)))
        image.load()
        self.pictures.append(image)
        return [*f"A picture of {image.width} by {image.height} pixels.".split(), *prompt.split()]

    async def told(self, words: list[str]) -> AsyncIterator[str]:
        for number, word in enumerate(words):
            if number == self.knobs.stops_after:
                return
            try:
                await asyncio.sleep(self.knobs.word_s)
            except asyncio.CancelledError:
                self.hung_up += 1
                raise
            yield word + " "


@asynccontextmanager
async def serving() -> AsyncIterator[Vision]:
    vision = Vision()
    server = await LoopbackServer.start(_app(vision))
    vision.url = f"http://{server.address}"
    try:
        yield vision
    finally:
        await server.aclose()


def _app(vision: Vision) -> FastAPI:
    app = FastAPI()
    _speak_ollama(app, vision)
    _speak_openai(app, vision)
    return app


def _speak_ollama(app: FastAPI, vision: Vision) -> None:
    knobs = vision.knobs

    @app.get("/api/tags")
    async def tags() -> dict:
        return {"models": [{"name": name, "size": 1} for name in vision.models]}

    @app.post("/api/show")
    async def show(request: Request) -> dict:
        sees = vision.models[(await request.json())["model"]]
        return {"capabilities": ["completion", *(["vision"] if sees else [])]}

    @app.post("/api/generate")
    async def generate(request: Request):
        body = await request.json()
        if knobs.error:
            return JSONResponse({"error": knobs.error}, knobs.status)
        if body["model"] not in vision.models:
            return JSONResponse({"error": f"model '{body['model']}' not found"}, 404)
        if "prompt" not in body:
            vision.loaded = [body["model"]] if body["keep_alive"] else []
            return {"model": body["model"], "response": "", "done": True, "done_reason": "load"}
        words = vision.words(body["prompt"], *body["images"])
        return StreamingResponse(_ollama_lines(vision, words), media_type="application/x-ndjson")


async def _ollama_lines(vision: Vision, words: list[str]) -> AsyncIterator[str]:
    async for word in vision.told(words):
        yield json.dumps({"response": word, "done": False}) + "\n"
    if vision.knobs.error_in_stream:
        yield json.dumps({"error": vision.knobs.error_in_stream}) + "\n"
    elif vision.knobs.stops_after is None:
        reason = "length" if vision.knobs.cut_at_length else "stop"
        yield (
            json.dumps({"response": "", "done": True, "done_reason": reason, "eval_count": len(words)}) + "\n"
        )


def _speak_openai(app: FastAPI, vision: Vision) -> None:
    knobs = vision.knobs

    def refused(request: Request) -> bool:
        return knobs.key is not None and request.headers.get("authorization") != f"Bearer {knobs.key}"

    @app.get("/v1/models")
    async def models(request: Request):
        if refused(request):
            return JSONResponse({"error": {"message": "Incorrect API key provided"}}, 401)
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in vision.models]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request):
        if refused(request):
            return JSONResponse({"error": {"message": "Incorrect API key provided"}}, 401)
        if knobs.error:
            return JSONResponse({"error": {"message": knobs.error, "type": "server_error"}}, knobs.status)
        text, image = (await request.json())["messages"][0]["content"]
        words = vision.words(text["text"], image["image_url"]["url"].partition("base64,")[2])
        return StreamingResponse(_openai_events(vision, words), media_type="text/event-stream")


async def _openai_events(vision: Vision, words: list[str]) -> AsyncIterator[str]:
    def event(delta: dict, finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

    yield event({"role": "assistant", "content": ""})
    async for word in vision.told(words):
        yield event({"content": word})
    if vision.knobs.error_in_stream:
        yield f"data: {json.dumps({'error': {'message': vision.knobs.error_in_stream}})}\n\n"
    elif vision.knobs.stops_after is None:
        yield event({}, "length" if vision.knobs.cut_at_length else "stop")
        yield "data: [DONE]\n\n"
