"""Where a proxy may connect to for a server: decided for each address that a name resolved to, right before the connection. Pure.

Public addresses are open. Names of the cluster's Services may resolve to private addresses. All else has to be allowed: loopback,
link-local (RFC 3927, RFC 4291; the metadata services of clouds), other private ranges (RFC 1918, RFC 4193, RFC 6598), and what no
server has (multicast, unspecified, reserved). Addresses that carry another one (mapped, NAT64, 6to4, Teredo) count as that one too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

LOOPBACK: Final = "loopback"
MODES: Final = ("off", "enforce")
CLUSTER_DOMAIN: Final = "cluster.local"
METADATA: Final[frozenset[Address]] = frozenset(
    map(ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "168.63.129.16"))
)
"""Of clouds; some stand in ranges that look private or public. Only a network that names it and little else opens one."""
_SHARED: Final = ip_network("100.64.0.0/10")
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NARROW: Final = {4: 30, 6: 126}
"""A network of at least this prefix length means its addresses one by one."""


@dataclass(frozen=True, slots=True)
class Egress:
    """What is allowed beside public addresses. `cluster_domain` is that of Services' names (`svc.cluster.local`).

    `namespace` is the pod's: a name of one label is that of a Service in it, as it is for a pod's resolver.
    """

    loopback: bool = False
    networks: tuple[Network, ...] = ()
    cluster_domain: str = CLUSTER_DOMAIN
    namespace: str = ""

    @classmethod
    def of(
        cls, networks: Iterable[str] = (), *, loopback: bool = False, cluster_domain: str = CLUSTER_DOMAIN
    ) -> "Egress":
        """Raises ValueError for what is no network in CIDR notation."""
        return cls(loopback, tuple(ip_network(network) for network in networks), cluster_domain)

    @classmethod
    def parse(cls, mode: str, allow: str, cluster_domain: str, namespace: str = "") -> "Egress | None":
        """From the words of a process's settings: `off` (None) or `enforce`, and what is allowed, by commas. Raises ValueError."""
        words = [word.strip() for word in allow.split(",") if word.strip()]
        networks = [word for word in words if word != LOOPBACK]
        try:
            found = cls.of(
                networks, loopback=LOOPBACK in words, cluster_domain=cluster_domain.strip(" .") or CLUSTER_DOMAIN
            )
        except ValueError as error:
            raise ValueError(f"what egress allows is loopback or networks such as 10.0.0.0/8: {error}") from None
        if mode not in MODES:
            raise ValueError(f"egress is {' or '.join(MODES)}, not {mode!r}")
        return replace(found, namespace=namespace.strip()) if mode == "enforce" else None

    @property
    def allowed(self) -> str:
        """What `parse` takes."""
        return ",".join([*([LOOPBACK] if self.loopback else []), *map(str, self.networks)])

    def looked_up(self, host: str) -> str:
        """The name that is asked for in the place of `host`: of a Service of the namespace the whole one, so that nothing else
        that the resolver's search list may have is meant by it."""
        label = host.lower()
        if not self.namespace or label == "localhost" or not _LABEL.fullmatch(label):
            return host
        return f"{label}.{self.namespace}.svc.{self.cluster_domain}"

    def refusal(self, host: str, address: str) -> str | None:
        """Why no connection to `address` may be made for the name (or literal address) `host`; None where it may.

        The text names the kind of address and the setting, so that it can stand in a condition.
        """
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return f"{host} resolves to something that is no address"
        for one in _all_of(found):
            if (kind := self._kind(host, one)) is not None:
                return f"{host} resolves to {kind}, which egress settings do not allow"
        return None

    def _kind(self, host: str, address: Address) -> str | None:
        """What speaks against an address, in words."""
        named = [network for network in self.networks if network.version == address.version and address in network]
        if address in METADATA:
            narrow = any(network.prefixlen >= _NARROW[network.version] for network in named)
            return None if narrow else "a cloud's metadata service"
        if named:
            return None
        if address.is_loopback:
            return None if self.loopback else "a loopback address"
        if address.is_link_local:
            return "a link-local address"
        if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
            return "an address that no server has"
        if _is_private(address):
            return None if self._is_service(host) else "a private address"
        return "a reserved address" if address.is_reserved else None

    def _is_service(self, host: str) -> bool:
        """Whether it is the DNS name of a Service or its endpoint: `name.namespace.svc`, with or without the domain."""
        name = host.lower().rstrip(".")
        name = name.removesuffix(f".{self.cluster_domain.lower()}")
        return name.endswith(".svc") and len(name.split(".")) >= 3


def _is_private(address: Address) -> bool:
    return address.is_private or (address.version == 4 and address in _SHARED) or _is_site_local(address)


def _is_site_local(address: Address) -> bool:
    return isinstance(address, IPv6Address) and address.is_site_local


def _all_of(address: Address) -> Iterator[Address]:
    """The address, and those that it carries: where it is translated on the way, they are what is reached."""
    if isinstance(address, IPv4Address):
        yield address
        return
    if (mapped := address.ipv4_mapped) is not None:
        yield mapped
        return
    carried = [carried for carried in (address.sixtofour, *(address.teredo or ())) if carried is not None]
    low = int(address) & 0xFFFF_FFFF
    if any(address in network for network in _NAT64) or (int(address) >> 32 == 0 and low > 1):
        carried.append(IPv4Address(low))
        yield from carried
        return
    yield address
    yield from carried
