"""`symphony bench programs`: applications as programs, beside the same ones as clients of an endpoint and of a library.

`work.py` has what each application is given, `clients.py` them as clients, `bench/programs` as LIPs,
`ways.py` the places where they run, `measure.py` the rounds and the report.
"""
