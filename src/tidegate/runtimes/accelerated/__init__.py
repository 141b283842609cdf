"""Faster forms of models: made and proven equal by a job (`trying`), served without the original (`serving`)."""
