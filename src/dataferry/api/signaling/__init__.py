"""The control planes' door, in both directions.

``routes`` takes the messages of ``wire`` in, in the ``dialects`` that control planes speak, from whom
``authorization`` knows; ``client`` calls back. ``registering`` and ``offers`` say what either side hands the
other when it registers, ``token_endpoint`` issues tokens to who has no identity provider.
"""
