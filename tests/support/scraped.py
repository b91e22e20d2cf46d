"""What `/metrics` says, as Prometheus reads it.

found = await scraped(gateway)
found.value("mcp_tool_executions_total", tool_id="a.text", status="ok")
"""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from support.gateway import Gateway

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scrape:
    samples: Mapping[tuple[str, Labels], float]

    def value(self, name: str, **labels: str) -> float:
        """Of one series; 0 where there is none."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The series of a name with these labels, by another label of theirs."""
        wanted = labels.items()
        return {
            dict(found)[label]: value
            for (series, found), value in self.samples.items()
            if series == name and wanted <= dict(found).items()
        }


def parsed(text: str) -> Scrape:
    samples: dict[tuple[str, Labels], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, f"twice: {key}"
            samples[key] = sample.value
    return Scrape(samples)


async def scraped(gateway: Gateway) -> Scrape:
    return parsed((await gateway.get("/metrics")).text)
