"""An image by HTTP, with aiohttp. docs/howto/web.md shows it."""

from aiohttp import web

from bfl_async.integrations.aiohttp import CLIENT, client_context, errors


async def create(request: web.Request) -> web.Response:
    if request.content_type != "application/json":  # keeps the forms of other sites out
        raise web.HTTPUnsupportedMediaType
    prompt = str((await request.json()).get("prompt") or "")
    if not prompt.strip():
        raise web.HTTPUnprocessableEntity(text="prompt: a text is required")
    result = await request.app[CLIENT].generate("flux-pro-1.1", prompt=prompt, timeout=60)
    return web.Response(body=await result.read(), content_type="image/jpeg")


app = web.Application(middlewares=[errors])
app.cleanup_ctx.append(client_context())  # opens a client, and drains it at the end
app.router.add_post("/images", create)

if __name__ == "__main__":
    web.run_app(app)
