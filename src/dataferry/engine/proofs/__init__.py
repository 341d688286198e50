"""What the checksums of a pair say about an object (rule 8).

``verification`` compares them, ``etags`` knows which ETags are MD5s, and ``proving`` compares before an
object is visible.
"""
