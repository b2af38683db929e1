"""Answer only some parts of the server at an address."""

from typing import get_args

import grpc

from ganserve_server.api.grpc.call_handling import CallHandler
from ganserve_server.api.grpc.message_reading import Handler
from ganserve_server.identity.rules import RULES, Part

EVERYTHING: frozenset[Part] = frozenset(get_args(Part))
"""All parts of the server."""


class Listener(grpc.GenericRpcHandler):
    """The methods of some parts; the others do not exist at its address."""

    def __init__(self, handler: CallHandler, parts: frozenset[Part]) -> None:
        self._handler = handler
        self._methods = {method for method, rule in RULES.items() if rule.parts <= parts}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler of a call."""
        if handler_call_details.method in self._methods:
            return self._handler.service(handler_call_details)
        return self._handler.no_method(handler_call_details)
