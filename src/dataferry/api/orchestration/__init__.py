"""The orchestrator's door: what its clients send and see, and how connectors are asked.

Shapes, statuses and errors are those of the orchestrator's own description, field for field; more fields may
be there, none is missing. ``edc`` is the client of connectors' Management APIs, ``webhook`` that of whom the
operator has told of ends.
"""
