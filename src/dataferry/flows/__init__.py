"""Use cases on data flows, one transaction each.

``signaling`` has the control plane's verbs (``acceptance`` the first two, prepare and start; ``preparation``
what of them takes long), ``management`` the operator's. ``catalogue`` is what is configured: ``entries`` of
``locations``, ``datasets``, ``landing_zones`` and ``control_planes``; ``resolution`` turns these and metadata
into places, ``grants`` hands out addresses. ``attempts`` runs one attempt, ``outbox`` delivers callbacks,
``registration`` introduces us to control planes, ``sweep`` finds what should run and does not, ``journal``
writes each step into the log. ``shared`` is what they all work with, ``writing`` is how they write a flow's
row.
"""
