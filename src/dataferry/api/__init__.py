"""The doors, HTTP all but one: a folder each, and none imports another.

``application`` puts them together on what the composition root fills into ``services``. What all requests go
through: ``access``, ``admission``, ``bodies``, and ``problems`` for what went wrong. Who comes in:
``authorization``, ``operators`` by their ``api_keys``, clients of the orchestrator by the ``client_key``.
"""
