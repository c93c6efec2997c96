"""Tools for the agent. They run outside the sandbox, with your rights; their annotations become schemas."""


def get_weather(city: str, unit: str = "celsius") -> dict[str, object]:
    """Get the current weather in a city."""
    return {"city": city, "temperature": 21 if unit == "celsius" else 70, "unit": unit, "sky": "clear"}
