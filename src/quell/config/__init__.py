"""What the user has decided: where our files are, the settings, and which secrets to keep. Read by `app` alone."""
