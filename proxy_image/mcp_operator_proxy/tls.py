"""TLS of the listener, renewed while it listens: connections that stand go on, new ones see the new certificate."""

import ssl
from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mcp_operator_proxy.certificate import BadCertificate, Certificate, interim, listening, load
from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.swap.validate import ConfigRejected, secret


class Certificates:
    """What the listener shows: `context` is for the listener's whole life, `use` changes what it gives to new connections.

    Until the first one is in use it shows an interim one, that a probe can be answered.
    """

    def __init__(self) -> None:
        self.current: Certificate | None = None
        self._shown = interim()
        self.context = listening()
        self.context.sni_callback = self._choose

    def find(self, config: ProxyConfig, secrets: Mapping[str, str]) -> Certificate:
        """The configuration's certificate; one that names none leaves what is in use.

        Raises:
            SecretMissing: a file that it names is not there.
            ConfigRejected: it is not usable, or there is none at all.
        """
        if config.tls is None:
            if self.current is None:
                raise ConfigRejected("tls: this proxy serves TLS, and there is no certificate yet", config.revision)
            return self.current
        chain = secret(config.tls.certificate, secrets, "tls.certificate", config.revision)
        key = secret(config.tls.key, secrets, "tls.key", config.revision)
        try:
            return load(chain.encode(), key.encode())
        except BadCertificate as error:
            raise ConfigRejected(f"tls: the certificate {error}", config.revision) from None

    def use(self, certificate: Certificate) -> None:
        """Show it to connections that begin from now on."""
        self.current = self._shown = certificate

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called for every handshake, also for one without a server name.

        A context of its own for each certificate: one into which keys of two kinds (RSA, EC) are loaded shows both.
        """
        connection.context = self._shown.context


class CertificateCollector(Collector):
    """When the certificate in use ends, read at each scrape."""

    def __init__(self, current: Callable[[], Certificate | None]) -> None:
        self._current = current

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        text = "When the certificate of the TLS listener ends, in seconds since the epoch."
        family = GaugeMetricFamily("mcp_proxy_certificate_not_after_timestamp_seconds", text)
        if (certificate := self._current()) is not None:
            family.add_metric([], certificate.not_after)
        return [family]
