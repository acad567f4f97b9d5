"""The chat templates that --chat-template may name."""

NAMES = ("alpaca", "chatml", "gemma", "llama3", "mistral", "phi3", "zephyr")
