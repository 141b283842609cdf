"""Pages about decisions: what forms were filled in with, the same as commands, and what a page shows. Pure."""
