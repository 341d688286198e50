"""The engine: plan → objects → parts → pump. It knows no mechanism by name.

``transfer`` says what a transfer is and what comes out, ``run`` runs an attempt, ``plan`` lists and
decides, ``pump`` moves the bytes of one part, ``retry`` alone retries, ``limits`` bounds rates and memory,
``progress`` counts.
"""
