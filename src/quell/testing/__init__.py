"""For tests, ours and others': fakes for every port, contract suites, loopback providers, and the explorer of the machine."""
