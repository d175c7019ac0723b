"""The command `quell`: a front end that starts fast, does one thing, and leaves.

    options   what `quell run` accepts, as data        run       one prompt, from its text to the exit status
    prompt    arguments, standard input, attachments   narrate   what is shown while it runs
    outcome   how the followed run goes and ends       children  what its sub-agents do
    daemon    find, start, replace, stop the server    serving   the server, in this process
    commands  the other commands, loaded when used     lookup    sessions, by what people type
    asking    a person, in the middle of a run         form      a request, and what may be answered
    late      what is waited for, if that takes long   silence   whether events can come while none does
    failure   errors and exit statuses                 terminal  colours, widths, tables, paging

Rule: what `quell run` imports before its prompt is on its way is paid for on every call. `__main__` therefore looks at the arguments
itself, and only the other commands load click.
"""
