"""Mechanisms: the ways of moving bytes.

``base`` says what each offers, ``abilities`` what it may offer beside, ``registry`` finds them.

One folder a mechanism, the same file names in each: ``mechanism`` (what it is), ``address`` (how places are
written), ``source``, ``sink``, ``grant``. A mechanism's name never appears outside its folder.
"""
