"""What gateways are told and what they report. In memory only."""
