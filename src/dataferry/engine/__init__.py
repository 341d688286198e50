"""The engine: plan → objects → parts → pump. It knows no mechanism by name.

What is asked, and what comes out: ``transfer``, ``selection``; ``run`` runs an attempt, ``preview`` and
``estimate`` say what one would do, ``course`` is what its threads share.

The plan: ``planning`` lists the source and decides, with ``overwriting`` and ``retargeting``; ``route`` says
who moves the bytes, the store by itself (``copying``) or we.

The threads: ``feed`` hands ``work`` to each ``worker`` of the ``crew``, as many as the ``tuner`` finds to
pay. A worker has ``hands`` with ``connections`` of its own, and may have a seat in one of the ``lanes``:
processes (``lane``) that send small objects. ``gathering`` says which processors they use, ``progress``
counts, ``stop`` ends.

An object's way: small ones go ``whole`` and are written down by ``arrivals``; big ones by ``opening``,
``parts`` and ``completion``; by ``streaming`` where no version can be named, by ``unknown_length`` and
``spool`` where the source does not say how many bytes come. ``pump`` moves bytes, ``tags`` go with them.
``retry`` alone retries; ``pause`` is what a store that asks for patience gets, ``bandwidth`` and ``bucket``
bound rates.

What is proved: ``verification`` by checksums, ``etags`` where these are MD5s, ``proving`` before an object is
visible, ``readback`` after. In the end ``manifest`` writes what has arrived, and ``cleanup`` aborts uploads
that nobody needs.
"""
