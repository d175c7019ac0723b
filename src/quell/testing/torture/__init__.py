"""Torture: the real daemon with real sockets, files, processes and clients, killed at random moments and audited each time.

`plan` says what will be done to it, `place` is where it happens, `daemon` has the processes, `lives` the daemons' ends, `script` the model's part,
`ledger` what clients were told, `inquest` what must hold, `report` what is shown, `run` puts them together. `client` is the client's own
process, which finds `servers`, and has each `follower`.
"""
