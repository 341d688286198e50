"""The engine: plan → objects → parts → pump. It knows no mechanism by name.

``transfer`` says what a transfer is and what comes out; ``run`` runs an attempt. ``planning`` lists and
decides (``selection``, ``overwriting``, ``retargeting``), ``feed`` hands work to each ``worker``, who has
``hands`` with its own ``connections``. ``route`` decides who moves the bytes: the store by itself
(``copying``), or we. Small objects go by ``whole``, big ones by ``opening``, ``parts`` and ``completion``, or
by ``streaming`` where no version can be named. ``pump`` moves bytes, ``verification`` says what is proved,
from checksums, from ``etags`` and by what ``readback`` finds at the destination; ``proving`` compares whole
objects with their source before they are visible. ``retry`` alone retries, ``limits`` bounds rates,
``progress`` counts, ``stop`` ends, ``cleanup`` aborts uploads that nobody needs, ``manifest`` writes at the
destination what has arrived; ``course`` is what the threads of an attempt share.
"""
