"""The `tidegate` command: argv in, text or JSON out. Talks to the platform through `tidegate.client` only."""
