"""Opens the object storage that holds a customer's interactions: as which account, with which keys, at which host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.hosts import is_plain_loopback
from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.object_storage.azure_blob import AzureBlob
from optiinfra_dagster.providers.object_storage.folder import Folder
from optiinfra_dagster.providers.object_storage.gcs import Gcs
from optiinfra_dagster.providers.object_storage.s3 import S3

if TYPE_CHECKING:
    from optiinfra_dagster.config.application import Application
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.client import Principal
    from optiinfra_dagster.providers.object_storage.store import Store

SETTING = "interactions"  # the key of the customers file that names the place

_BLOB_SECONDS = 600.0  # for one call to blob storage: to read an object to its end, too
# Per request, block blobs of the hot tier, locally redundant: a listing is charged as a write
# (https://azure.microsoft.com/pricing/details/storage/blobs/).
_BLOB_USD = {"ListBlobs": Decimal("0.0000055"), "GetBlob": Decimal("0.00000044")}
# An account that is entered as this host; the subscription's id has no part in it.
_HOST_ACCOUNT = AzureAccount(subscription_id="00000000-0000-0000-0000-000000000000")


def open_store(customer: Customer, application: Application, meter: Meter) -> tuple[Store, str]:
    """Open the store of an application's interactions; returns it, and the prefix of the keys with its placeholders.

    Raises:
        ConfigError: a reference or the endpoint leads nowhere.
        CloudError: the cloud cannot be entered.
    """
    scheme, separator, rest = application.interactions.partition("://")
    if not separator:
        # The folder before the first name with a placeholder must be there.
        folder = Path(re.split(r"[^/]*\{", application.interactions)[0])
        return Folder(folder, SETTING), application.interactions
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3":
        return _open_s3(customer, application, bucket, meter), prefix
    if scheme == "gs":
        return Gcs(bucket, _google_client(customer, application, meter), meter, SETTING), prefix
    container, _, prefix = prefix.partition("/")
    return _open_azure_blob(customer, application, bucket, container, meter), prefix


# --- S3 -------------------------------------------------------------------------------------------------------------


def _open_s3(customer: Customer, application: Application, bucket: str, meter: Meter) -> S3:
    """A bucket, read as the customer's first AWS account, with keys of its own, or as this host."""
    references = (application.access_key_id, application.secret_access_key)
    access_key, secret_key = (reference.resolve() if reference else None for reference in references)
    accounts = customer.accounts_of(AwsAccount)
    if accounts and not access_key:
        from optiinfra_dagster.providers.aws.client import open_account

        account = open_account(customer.id, accounts[0], meter)
        return S3(bucket, partial(account.call, "s3", account.home_region, meter), SETTING, account.partition)
    return S3(bucket, partial(_lend_s3, application.endpoint(), access_key, secret_key, bucket, meter), SETTING)


@lru_cache(maxsize=16)
def _s3_client(endpoint: str | None, access_key: str | None, secret_key: str | None) -> Any:
    """A client with keys of its own or this host's; a client costs 0.15 CPU-s and some MB."""
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    return session.create_client(
        "s3",
        region_name=session.get_config_variable("region") or "us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"total_max_attempts": 4, "mode": "standard"}),
    )


@contextmanager
def _lend_s3(
    endpoint: str | None,
    access_key: str | None,
    secret_key: str | None,
    bucket: str,
    meter: Meter,
    usd: Mapping[str, Decimal],
) -> Iterator[Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    from optiinfra_dagster.providers.aws.errors import explain

    ((operation, price),) = usd.items()
    meter.count(operation, usd=price)
    try:
        yield _s3_client(endpoint, access_key, secret_key)
    except (BotoCoreError, ClientError) as error:
        raise explain(error, "s3", f"s3://{bucket}", operation) from None


# --- Google Cloud Storage -------------------------------------------------------------------------------------------


def _google_client(customer: Customer, application: Application, meter: Meter) -> Any:
    """A client that enters as the customer's first Google Cloud project, or as this host."""
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage

    from optiinfra_dagster.providers.gcp.credentials import credentials_of

    account = next(iter(customer.accounts_of(GcpAccount)), None)
    endpoint = application.endpoint() or (account.endpoint() if account else None)
    try:
        credentials = None
        if is_plain_loopback(endpoint):
            credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        elif account is not None:
            credentials = credentials_of(account, endpoint or "https://storage.googleapis.com", meter)
        return storage.Client(
            project=account.project_id if account else None,
            credentials=credentials,
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )
    except (GoogleAuthError, OSError) as error:
        raise CloudError(
            Cause.AUTH,
            f"this host has no Google credentials ({type(error).__name__}): add the customer's project to the "
            "customers file, set GOOGLE_APPLICATION_CREDENTIALS, or run on Google Cloud with a service account",
        ) from None


# --- Azure ----------------------------------------------------------------------------------------------------------


def _open_azure_blob(
    customer: Customer, application: Application, host: str, container: str, meter: Meter
) -> AzureBlob:
    """A container, read as the customer's first Azure account, or as this host."""
    from optiinfra_dagster.providers.azure.client import open_principal

    account = next(iter(customer.accounts_of(AzureAccount)), _HOST_ACCOUNT)
    endpoint = application.endpoint()
    if endpoint is not None:
        if not is_plain_loopback(endpoint):
            raise ConfigError(
                f"The application of {customer.id} has an endpoint_url that is not this machine's, and interactions in "
                "Azure, whose host `interactions` names: remove endpoint_url."
            )
        account = account.model_copy(update={"endpoint_url": application.endpoint_url})
    return AzureBlob(host, container, partial(_lend_azure, open_principal(account), meter), SETTING)


@contextmanager
def _lend_azure(principal: Principal, meter: Meter, operation: str) -> Iterator[Principal]:
    from optiinfra_dagster.providers.azure.client import forget
    from optiinfra_dagster.providers.azure.transport import calling

    meter.bill(operation, usd=_BLOB_USD[operation])  # the principal counts the calls
    try:
        with calling(meter, _BLOB_SECONDS):
            yield principal
    except CloudError as error:
        if error.cause is Cause.AUTH:
            forget(principal)
        raise
