"""The client's verbs by subject: `client.endpoints`, `client.models`, and so on."""
