"""The command `quell`: a front end that starts fast, does one thing, and leaves.

    options   what `quell run` accepts, as data        run       one prompt, from its text to the exit status
    prompt    arguments, standard input, attachments   narrate   what is shown while it runs
    daemon    find, start, replace, stop the server    failure   errors and exit statuses
    commands  the other commands, loaded when used     terminal  colours, widths, tables, paging
    asking    a person, in the middle of a run         form      a request, and what may be answered

Rule: what `quell run` imports before its prompt is on its way is paid for on every call. `__main__` therefore looks at the arguments
itself, and only the other commands load click.
"""
