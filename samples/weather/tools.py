"""The tools of the weather sample: plain Python functions; the docstring and the annotations become their schema."""


def get_weather(city: str, unit: str = "celsius") -> dict[str, object]:
    """Get the current weather in a city."""
    celsius = 10 + sum(map(ord, city)) % 20
    degrees = celsius if unit == "celsius" else celsius * 9 / 5 + 32
    return {"city": city, "temperature": degrees, "unit": unit, "sky": "clear"}
