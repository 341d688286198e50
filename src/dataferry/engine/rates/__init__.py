"""How fast bytes may flow.

``bandwidth`` is what any number of transfers share, by a ``bucket`` whose rate follows a schedule;
``passage`` takes of it for those who must not block. ``pause`` is what a store that asks for patience gets.
"""
