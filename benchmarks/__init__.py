"""Measurements of the whole product: a real daemon on a unix socket, a model on loopback, a client in a third process.

    python -m benchmarks [name…] [--quick] [--write]

Rules: each module of `GROUPS` in `__main__` measures a few figures that belong together and returns them with their targets; nothing is
measured through the inside of the product. The clock is the machine's monotonic one, which all processes share. Whoever starts a
process ends it. Only Linux tells what is asked here of other processes.
"""
