"""The operators' door: data flows and their events, and what the service is set up with.

``routes`` gathers it. ``flows``, with ``views``, and ``events`` show what happens; ``locations``,
``datasets``, ``landing_zones``, ``mechanisms`` and ``control_planes`` are the catalogue, each on ``entries``.
"""
