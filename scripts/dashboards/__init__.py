"""What each dashboard shows, in words and queries; `generate_dashboards.py` turns them into Grafana's JSON."""
