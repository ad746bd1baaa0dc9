"""The connection to a ClickHouse server; of several replicas, to one of them at a time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from optiinfra_dagster.config.server_url import read_server_url
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage.database import DATABASE, use_database
from optiinfra_dagster.storage.profile import set_back
from optiinfra_dagster.storage.text_expressions import takes_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from clickhouse_connect.driver.client import Client

CONNECT_SECONDS = 10  # for each host

# Of the settings, the one that is none to the server, so that a user with readonly = 1 may send it as well: an answer
# is whole before it is sent, and an error never comes in the middle of one.
ALLOWED: Mapping[str, Any] = {"wait_end_of_query": 1}


class Server:
    """A server by its URL. Where that names several replicas, one is drawn, so that processes spread over them.

    Another one takes its place only between sessions, when it cannot be reached any more: within a session, what a
    statement wrote is there for the next.
    """

    def __init__(self, url: str, *, answer_seconds: int, settings: Mapping[str, Any]) -> None:
        self._url = read_server_url(url)
        self._answer_seconds = answer_seconds
        self._settings = settings
        self._hosts = list(self._url.hosts)
        random.SystemRandom().shuffle(self._hosts)
        self._client: Client | None = None
        self.place = self._url.place

    def client(self) -> Client:
        """The client of a host that can be reached, for a session.

        Raises:
            clickhouse_connect.driver.exceptions.Error: none can, each was tried once; the last one's error.
        """
        if self._client and len(self._hosts) > 1 and not self._client.ping():
            self._client.close()
            self._client = None
            self._hosts.append(self._hosts.pop(0))
        self._client = self._client or self._connect_to_any()
        return self._client

    def _connect_to_any(self) -> Client:
        from clickhouse_connect.driver.exceptions import Error as ClickHouseError

        for _ in self._hosts[1:]:
            try:
                return self._connect()
            except ClickHouseError as error:
                if getattr(error, "code", None) is not None:  # it answers
                    raise
                self._hosts.append(self._hosts.pop(0))
        return self._connect()

    def _connect(self) -> Client:
        import clickhouse_connect

        host = self._hosts[0]
        client = clickhouse_connect.get_client(
            interface=self._url.scheme,
            host=host.name,
            port=host.port,
            username=self._url.user,
            password=self._url.password,
            client_name="optiinfra",
            connect_timeout=CONNECT_SECONDS,
            send_receive_timeout=self._answer_seconds,
            query_retries=0,  # what a gateway answered 503 or 504 to may have been done: an INSERT is not sent twice
            autogenerate_session_id=False,  # sessions would serialise concurrent statements
        )
        for name, value in (self._settings if takes_settings(client) else ALLOWED).items():
            client.set_client_setting(name, value)
        try:
            set_back(client)
        except StorageError as error:
            raise StorageError(f"ClickHouse at {self.place}: {error}") from error
        use_database(client, self._url.database or DATABASE)
        return client
