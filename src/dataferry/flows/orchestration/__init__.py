"""Use cases on orchestrations: a list of a connector's assets, each brought to a place of ours.

``orchestrator`` takes requests in, shows and cancels them. ``runner`` has every entry that is at work make
its next step, in few threads: ``steps`` says what each step does, ``negotiating`` those up to a contract
where there is none, ``acceptance`` what may be agreed to; ``downloads`` makes an entry's data flow and
follows it. The bytes are moved by the very attempts that move those of control planes' flows. Pushes are
taken in like others, at places that ``awaited`` names, and followed by ``pushes``. ``notices`` tells a
webhook of ends. ``ports`` is how connectors are asked, ``connectors`` which may be; ``naming`` and
``sidecar`` say what is stored as what.
"""
