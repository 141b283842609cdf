"""How the verbs that watch (`monitor`, `alerts`) tell people what was found."""
