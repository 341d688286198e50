"""The engine: plan → objects → parts → pump. It knows no mechanism by name.

What others call: ``run`` runs an attempt, ``preview`` says what one would do; ``transfer`` and ``selection``
are what is asked and what comes out, ``stop`` ends it. ``cleanup`` aborts uploads that nobody needs.

Its rooms, each of which knows only those below it:

- ``workers``: the threads and processes that carry a plan out, as many as pay;
- ``plan``: what is to be moved, written down before it is, and the manifest of what has arrived;
- ``objects``: the way of one object, whole or in parts, until it is at the destination and proved;
- ``attempt``: what all threads of an attempt share;
- ``proofs``: what the checksums of a pair say about an object;
- ``rates``: how fast bytes may flow.
"""
