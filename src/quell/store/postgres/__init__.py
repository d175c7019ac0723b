"""A journal in PostgreSQL: one database for several servers, on one machine or many. Needs the extra `postgres`.

    address     what is said of where it is, without the password
    line        a connection that is opened again when it was lost
    tables      checking the server, making the tables
    lease       who owns the journal, by the database's clock
    writing     a batch as one statement
    journal     the `Journal` port
    doorbell    the `Doorbell` port, over LISTEN and NOTIFY

What is in the rows is the business of `store.orders` and `store.rows`, as for SQLite.
"""
