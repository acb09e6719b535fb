"""`keyturn serve`: the HTTP service for whatever is not Python.

`app` has the endpoints, `forward_auth` the one that proxies ask, `client_secret` who may use the
rest; `running` opens sockets and starts workers.
"""
