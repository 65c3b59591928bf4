"""Grafana: dashboards, data sources and alerts as files, as ConfigMaps, and on a server."""
