"""An image by HTTP, with FastAPI: `uvicorn examples.web_fastapi:app`. The README shows it."""

from typing import Annotated

from fastapi import Body, FastAPI

from bfl_async import AsyncBFL, Limits
from bfl_async.integrations.fastapi import Client, install_errors, lifespan

app = FastAPI(lifespan=lifespan(lambda: AsyncBFL(limits=Limits(account=12, queue=200))))
install_errors(app)  # 402 no credits, 409 moderated, 422 invalid, 429 queue full, 504 not in time, 502, 503


@app.post("/images")
async def draw(
    bfl: Client, prompt: Annotated[str, Body(embed=True, min_length=1, max_length=4_000)]
) -> dict[str, str]:
    result = await bfl.generate("flux-pro-1.1", prompt=prompt, timeout=60)
    return {"task": result.task_id, "url": result.url}
