"""What people do with endpoints, and what automations do beside them."""
