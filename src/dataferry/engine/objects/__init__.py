"""The way of one object, until it is at the destination and proved.

Small ones go ``whole`` and are written down by ``arrivals``; big ones by ``opening``, ``parts`` and
``completion``; by ``streaming`` where no version can be named, by ``unknown_length`` where the source does
not say how many bytes come, by ``copying`` where the store moves them itself. ``work`` is what a worker is
handed; its ``hands`` have ``connections`` of their own, and the ``pump`` that moves bytes. ``readback``
reads what was written.
"""
