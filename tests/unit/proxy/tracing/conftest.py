import pytest

from mcp_operator_proxy.tracing import export


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans go at once, and a collector that is away is asked again soon."""
    monkeypatch.setattr(export, "DELAY_SECONDS", 0.02)
    monkeypatch.setattr(export, "PAUSES", (0.02, 0.02, 0.02, 0.02))
