import pytest

from mcp_operator_proxy.sessions import forward


@pytest.fixture(autouse=True)
def _patient_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is there has time to answer, however busy the machine is; one that is gone refuses connections at once."""
    monkeypatch.setattr(forward, "CONNECT_SECONDS", 60.0)
