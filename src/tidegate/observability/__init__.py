"""What Prometheus and Grafana are given: the rules and dashboards here, and configuration made for one platform.

The dashboards are made by `scripts/generate_dashboards.py`; nothing here needs Grafana's SDK or a server.
"""
