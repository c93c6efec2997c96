"""The tools of the async_tools sample: they are asked for at once and answer when they can."""

import asyncio


async def get_forecast(city: str, seconds: float = 0.2) -> dict[str, object]:
    """Get the weather forecast of a city; it takes its time."""
    await asyncio.sleep(seconds)
    return {"city": city, "temperature": 10 + sum(map(ord, city)) % 20, "sky": "clear"}
