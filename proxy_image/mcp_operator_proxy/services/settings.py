"""Where state is kept, with the URLs and keys filled in from the secrets. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_operator_proxy.config import ProxyConfig
from mcp_operator_proxy.stores.sealed import BadKey, Sealer
from mcp_operator_proxy.swap.validate import ConfigRejected, secret


@dataclass(frozen=True)
class StoreSettings:
    """URLs and keys of `ProxyConfig.stores`. None and no keys: in the process."""

    redis: str | None = field(default=None, repr=False)
    database: str | None = field(default=None, repr=False)
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)


def store_settings(config: ProxyConfig, secrets: Mapping[str, str]) -> StoreSettings:
    """Raises SecretMissing, and ConfigRejected where a key or URL cannot be one."""
    stores, revision = config.stores, config.revision
    keys = tuple(
        secret(ref, secrets, f"stores.encryptionKeys[{index}]", revision)
        for index, ref in enumerate(stores.encryption_keys)
    )
    try:
        if keys:
            Sealer(keys)
    except BadKey as error:
        raise ConfigRejected(f"stores.encryptionKeys: {error}", revision) from None
    redis = secret(stores.redis, secrets, "stores.redis", revision).strip() if stores.redis else None
    if redis is not None and not redis.startswith(("redis://", "rediss://", "unix://")):
        raise ConfigRejected("stores.redis: the URL must begin with redis://, rediss:// or unix://", revision)
    database = secret(stores.database, secrets, "stores.database", revision).strip() if stores.database else None
    if database is not None and not database.startswith(("sqlite:///", "postgresql://", "postgres://")):
        raise ConfigRejected("stores.database: the URL must begin with postgresql:// or sqlite:///", revision)
    return StoreSettings(redis, database, keys)
