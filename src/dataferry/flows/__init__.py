"""Use cases on data flows, one transaction each.

``signaling`` has the control plane's verbs, ``management`` the operator's, ``resolution`` turns datasets,
landing zones and metadata into places, ``grants`` hands out addresses, ``attempts`` runs one attempt,
``outbox`` delivers callbacks, ``registration`` introduces us to control planes, ``sweep`` finds what should
run and does not.
"""
