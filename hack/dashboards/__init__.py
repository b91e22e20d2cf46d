"""The Grafana dashboards of the chart, written as JSON: `make dashboards`. Source: Grafana's documentation, "JSON model"."""
