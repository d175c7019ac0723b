"""Clients of the server: typed and asynchronous (`client`, `follow`), and blocking for one-shot commands (`oneshot`)."""
