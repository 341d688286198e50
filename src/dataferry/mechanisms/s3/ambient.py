"""The machine's own AWS credentials and settings, found by botocore; for places named by the operator."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from dataferry.domain.errors import AccessDeniedError, ConfigError
from dataferry.mechanisms.s3.signing import Credentials

_lock = threading.Lock()


@cache
def _session() -> Any:
    """The one botocore session; its credentials renew themselves."""
    import botocore.session

    return botocore.session.get_session()


def credentials() -> Credentials:
    """Return the credentials of the moment: environment, profile, container or instance role.

    Raises:
        AccessDeniedError: The machine has none.
    """
    from botocore.exceptions import BotoCoreError

    with _lock:
        try:
            found = _session().get_credentials()
            frozen = None if found is None else found.get_frozen_credentials()
        except BotoCoreError as exc:
            raise AccessDeniedError(
                f"the machine's AWS credentials can't be had: {type(exc).__name__}"
            ) from exc
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise AccessDeniedError(
            "there are no AWS credentials on this machine: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "a profile or a role, or use a location with access_key_id and secret_access_key"
        )
    return Credentials(
        access_key_id=frozen.access_key,
        secret_access_key=frozen.secret_key,
        session_token=frozen.token or None,
    )


def region() -> str | None:
    """Return the configured region, None if there is none."""
    with _lock:
        found = _session().get_config_variable("region")
    return str(found) if found else None


def ca_file() -> str | None:
    """Return the configured file of certificate authorities (``AWS_CA_BUNDLE``), None if there is none."""
    with _lock:
        found = _session().get_config_variable("ca_bundle")
    return str(found) if found else None


def endpoint_url() -> str | None:
    """Return the configured endpoint of S3 (``AWS_ENDPOINT_URL_S3``, profile), None if it is Amazon's.

    Raises:
        ConfigError: The AWS configuration names a profile that does not exist.
    """
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.exceptions import BotoCoreError

    with _lock:
        session = _session()
        try:
            found = ConfiguredEndpointProvider(
                full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
            ).provide()
        except BotoCoreError as exc:
            raise ConfigError(f"the AWS configuration of this machine is not right: {exc}") from exc
    return str(found) if found else None
