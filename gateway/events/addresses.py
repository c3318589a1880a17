"""Decide at once, without looking anything up, which addresses clients may want to be told at."""

from msgspec import Struct

from gateway.events.events import host_of
from gateway.network.guard import NotAllowedError, Rules
from gateway.problems import ProblemError


class Addresses(Struct, frozen=True):
    """Know which addresses are told anything: by the rules for strangers' addresses, and never our own."""

    rules: Rules
    http: bool
    own: str = ""
    """The gateway's own host and port, as the world knows it."""

    def check(self, url: str, param: str) -> None:
        """
        Refuse an address nothing is sent to.

        :raises ProblemError: 422 naming the field; the same words, whatever was wrong with it.
        """
        try:
            target = self.rules.read(url)
            if host_of(target.url) == self.own or (not self.http and not target.url.startswith("https:")):
                raise NotAllowedError("it is our own, or not https")
        except NotAllowedError as error:
            ports = ", ".join(map(str, sorted(self.rules.ports)))
            scheme = "http or https" if self.http else "https"
            message = (
                f"Nothing is sent to this address. Give an {scheme} address without user and password, at port {ports},"
                " whose host is known to the public internet and nothing else."
            )
            raise ProblemError(422, "url_not_allowed", message, param=param) from error
